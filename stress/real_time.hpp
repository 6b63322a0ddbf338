// SPDX-License-Identifier: Apache-2.0
// Threads as a real-time robot runs them: before all others, on a core of their own, with all memory in place.
#pragma once

namespace chiral::stress {

/// Locks all memory that the process has and will have. Throws std::runtime_error, with what to do, where the limits forbid it.
void lock_all_memory();

/// Puts the calling thread under SCHED_FIFO on one core. Throws std::runtime_error, with what to do, where the limits forbid it.
void enter_real_time(int core);

/// Keeps the calling thread off the cores that enter_real_time() is given, if there is another.
void leave_to_real_time(int first_free_core);

/// Cores for real-time threads: all but the last, which is for everybody else; the only one if there is one.
int real_time_cores() noexcept;

}  // namespace chiral::stress
