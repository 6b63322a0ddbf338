// SPDX-License-Identifier: Apache-2.0
// Clients of a local socket, each a process of its own: the run's, which asks for observations and reads directly beside that, and
// those of faults, which misbehave.
#pragma once

#include "nursery.hpp"
#include "progress.hpp"
#include "readers.hpp"
#include "shared.hpp"
#include "tally_record.hpp"
#include "ws_reader.hpp"

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

namespace chiral::stress {

/// What the clients do, fixed before the first of them starts.
struct LocalPlan {
    std::vector<CameraConfig> cameras;
    std::vector<ProprioConfig> proprios;
    Writes writes{Writes::frame};
    std::string socket;
    bool direct{false};                  ///< the server gives pages away, so the run's client has to get one
    bool leaves_real_time_cores{false};  ///< keeps off the cores of real-time threads
    WsPlan asking;
    ReaderPlan reading;
    Nanoseconds least_clock_step = Nanoseconds::max();
};

/// What a client of a fault and its harness tell each other.
struct FaultRoom {
    std::atomic<std::uint64_t> held{0};   ///< times that a client has got all that it holds
    std::atomic<std::uint64_t> words{0};  ///< that were written into a page, true or not
    std::atomic<bool> look_again{false};  ///< the client looks at what it holds, and ends
    std::atomic<bool> orphans_end{false};
};

/// What all of them and the harness see.
struct LocalRoom {
    LiveCounts asking_live, reading_live;
    WsTimes asking_times;
    ReaderTimes reading_times;
    TallyRecord asking, reading;
    FaultRoom fault;
};

class LocalClients {
public:
    /// Forks: before there is a second thread. What it refers to outlives it.
    LocalClients(LocalPlan plan, const Progress& progress, const std::atomic<bool>& stop);

    // What they do; where no socket is named, at the run's:

    /// The run's own, until it is told to stop.
    Nursery::Child start_own();
    /// Is let in, sees everything fresh and coherent in both ways, and ends.
    Nursery::Child start_newcomer();
    /// Holds all that a client may: observations, and images that it has pinned itself.
    Nursery::Child start_holder(const std::string& socket);
    /// The same, and has a child that has it, too, and lives until `orphans_end`.
    Nursery::Child start_parent();
    /// Holds an image of another server, connects to the one that came after it, and still has it.
    Nursery::Child start_survivor(const std::string& socket);
    /// Writes nonsense into its page until it is killed.
    Nursery::Child start_liar();

    const std::string& socket() const noexcept { return plan_.socket; }
    LocalRoom& room() const noexcept { return *room_; }

private:
    enum Role : std::size_t { own, newcomer, holder, parent, survivor, liar, roles };

    void be_own() const;
    void read_directly(PolicyClient& client, LookChecker& checker) const;
    void be_newcomer() const;
    void hold(const std::string& socket, bool leaves_a_child) const;
    void survive(const std::string& socket) const;
    void lie() const;

    const LocalPlan plan_;
    const Progress& progress_;
    const std::atomic<bool>& stop_;
    const Shared<LocalRoom> room_;
    Nursery nursery_;  // last: its processes have all of the above
};

}  // namespace chiral::stress
