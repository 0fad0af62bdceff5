#!/bin/sh
# The serving host of a container: the hook, the worker of deployments and the Bento, until the container is told to end.
set -eu
end() {
    duotempo down
    exit 0
}
trap end TERM INT
duotempo up
tail -q -n 0 -F "$DUOTEMPO_HOME"/logs/hook.log "$DUOTEMPO_HOME"/logs/worker-deploy.log &
wait "$!"
