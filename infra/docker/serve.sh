#!/bin/sh
# Runs the serving host in a container (webhook receiver, deploy worker and Bento) until the container is stopped.
set -eu
end() {
    duotempo down
    exit 0
}
trap end TERM INT
duotempo up
tail -q -n 0 -F "$DUOTEMPO_HOME"/logs/hook.log "$DUOTEMPO_HOME"/logs/worker-deploy.log &
wait "$!"
