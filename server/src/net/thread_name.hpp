// SPDX-License-Identifier: Apache-2.0
// Names for threads, as top -H, gdb and perf show them.
#pragma once

#include <cstddef>

#include <pthread.h>

namespace chiral::net {

/// Names the calling thread: at most 15 characters, the limit of Linux (pthread_setname_np(3)).
template <std::size_t N>
void name_this_thread(const char (&name)[N]) noexcept {
    static_assert(N <= 16, "the kernel keeps 15 characters of a thread's name");
#if defined(__APPLE__)
    ::pthread_setname_np(name);
#elif defined(__linux__)
    ::pthread_setname_np(::pthread_self(), name);
#endif
}

}  // namespace chiral::net
