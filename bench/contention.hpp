// SPDX-License-Identifier: Apache-2.0
// What an update and a look cost beside each other: comparators by turns, samples that were preempted apart.
#pragma once

#include "plan.hpp"
#include "progress_line.hpp"
#include "record.hpp"

namespace chiral::bench {

/// Appends one row per comparator and role (writer, reader) of every case.
void measure_contention(const Plan& plan, ProgressLine& progress, Json& rows);
/// How many milliseconds that takes, about.
double contention_work(const Plan& plan);

/// How long a writer is held up while a reader is stopped in the middle of a look: appends one row per comparator.
void measure_hold_up(const Plan& plan, ProgressLine& progress, Json& rows);
double hold_up_work(const Plan& plan);

}  // namespace chiral::bench
