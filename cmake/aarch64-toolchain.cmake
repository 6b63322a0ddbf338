# SPDX-License-Identifier: Apache-2.0
# Cross-builds for the Arm robots with Debian's g++-aarch64-linux-gnu; programs run under qemu-user.
#
# Emulation on x86 checks code generation, alignment and the futex call. It does not reorder memory accesses as Arm does:
# that is what the model checker in tests/model is for.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_CROSSCOMPILING_EMULATOR /usr/bin/qemu-aarch64 -L /usr/aarch64-linux-gnu)
# Libraries of the target only; packages without libraries (Eigen) may come from the host.
set(CMAKE_FIND_ROOT_PATH /usr/aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE BOTH)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
