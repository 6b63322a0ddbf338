// SPDX-License-Identifier: Apache-2.0
// One stress run: starts everything, shows progress, ends everything, gathers what was measured.
#pragma once

#include "faults.hpp"
#include "options.hpp"
#include "readers.hpp"
#include "writers.hpp"
#include "ws_reader.hpp"

#include <chiral/server.hpp>

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace chiral::stress {

/// The writers of one kind, and their canaries, which did the same with private memory.
struct KindTimes {
    WriterTimes writers;
    WriterTimes canaries;
};

struct SourceCount {
    std::string name;
    std::uint64_t published{0};
    double hz{0};  ///< without the first frame, which was published before the clock began
    double canary_hz{0};
    std::uint64_t skipped{0};  ///< periods in which nothing was published
    std::uint64_t missed{0};   ///< not seen by readers of this process, summed over them
    std::uint64_t missed_over_ws{0};
};

struct RunResult {
    double seconds{0};          ///< that readers ran
    double writing_seconds{0};  ///< that writers ran
    bool interrupted{false};
    std::shared_ptr<void> stuck;      ///< set if threads have not ended when told to: letting go of it waits for them
    std::vector<std::string> errors;  ///< threads that ended with an error or did not end

    KindTimes cameras;
    KindTimes proprios;
    std::vector<SourceCount> camera_sources;
    std::vector<SourceCount> proprio_sources;

    Tally looks;  ///< of all readers in this process
    ReaderTimes readers;
    bool every_reader_checked{false};   ///< each reader made at least one full check
    std::optional<Tally> observations;  ///< what came over ws, or to a local client
    WsTimes ws;
    std::optional<Tally> direct;  ///< what a local client looked at without asking
    ReaderTimes direct_times;
    std::vector<FaultOutcome> faults;
    std::optional<ServerStats> server;  ///< where clients from outside were let in

    std::uint32_t writer_step_bound{0};  ///< 0: the engine promises none
    std::uint32_t reader_step_bound{0};
};

/// Prints a progress line every second to stdout. Ends early on SIGINT and SIGTERM; a second one ends the process. Throws
/// what making the store or the server throws.
RunResult run(const Options& options);

}  // namespace chiral::stress
