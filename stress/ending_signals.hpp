// SPDX-License-Identifier: Apache-2.0
// Ctrl-C ends a run with its verdict, a second one at once.
#pragma once

#include "pacer.hpp"

namespace chiral::stress {

/// Threads that are started afterwards inherit it, so that the signals wait for wait_for_signal().
void block_signals();

/// True if the user wants an end, false at `until`.
bool wait_for_signal(SteadyTime until);

/// From here on the next Ctrl-C ends the process at once. timeout(1) and shells may deliver the first one twice: to the
/// process and to its group.
void let_signals_kill(bool had_one);

}  // namespace chiral::stress
