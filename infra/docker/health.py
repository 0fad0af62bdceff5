"""`python infra/docker/health.py URL`: exits with 0 when the address answers 200. Images without curl need it."""

import sys
import urllib.request

with urllib.request.urlopen(sys.argv[1], timeout=4) as answer:
    sys.exit(answer.status != 200)
