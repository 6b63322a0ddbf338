// SPDX-License-Identifier: Apache-2.0
// How old a value is when a reader holds it: from the moment the driver had it to the moment the reader may use it.
#pragma once

#include "plan.hpp"
#include "progress_line.hpp"
#include "record.hpp"

namespace chiral::bench {

/// A writer at 200 Hz and one reader that waits, without sleeping, for a number that the writer counts up after each update,
/// and looks then; per comparator by turns: appends one row each.
void measure_ages(const Plan& plan, ProgressLine& progress, Json& rows);
double ages_work(const Plan& plan);

}  // namespace chiral::bench
