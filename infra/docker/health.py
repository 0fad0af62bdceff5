"""`python infra/docker/health.py URL`: health check for images without curl; exits with 0 if the URL answers 200."""

import sys
import urllib.request

with urllib.request.urlopen(sys.argv[1], timeout=4) as answer:
    sys.exit(answer.status != 200)
