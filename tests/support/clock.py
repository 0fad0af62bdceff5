"""A wall clock that a test can set back under a running service (by LD_PRELOAD)."""

import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

static volatile const int64_t *seconds;

__attribute__((constructor)) static void open_offset(void) {
    int file = open(getenv("TEST_CLOCK"), O_RDONLY);
    if (file >= 0) seconds = mmap(0, sizeof *seconds, PROT_READ, MAP_SHARED, file, 0);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int answer = real(clock, now);
    if (clock == CLOCK_REALTIME && seconds) now->tv_sec += *seconds;
    return answer;
}
"""


@dataclass(frozen=True)
class Clock:
    """Sets the wall clock (CLOCK_REALTIME) of processes started with `environment`, not their monotonic clock."""

    environment: dict[str, str]
    file: Path

    def turn(self, seconds: int) -> None:
        """Sets the clock's offset from the true time, in seconds."""
        with self.file.open("r+b", buffering=0) as offset:
            offset.write(struct.pack("=q", seconds))


def make_clock(folder: Path) -> Clock:
    """Compiles the clock; skips the test if there is no C compiler."""
    compiler = shutil.which("cc") or pytest.skip("needs a C compiler")
    source, library, file = folder / "clock.c", folder / "clock.so", folder / "clock.offset"
    source.write_text(SOURCE)
    file.write_bytes(struct.pack("=q", 0))
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return Clock({"LD_PRELOAD": str(library), "TEST_CLOCK": str(file)}, file)
