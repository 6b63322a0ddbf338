// SPDX-License-Identifier: Apache-2.0
// What goes wrong around an engine in the field, done on purpose while it is under load: threads and clients that stop, die,
// come too many or come again and again, and clocks that jump.
//
// The run goes on around a fault with all its checks. A fault adds three: that it really happened, that memory stays flat
// while it goes on, and that afterwards a newcomer gets a fresh and coherent observation.
#pragma once

#include "connection_turn.hpp"
#include "pacer.hpp"
#include "progress.hpp"
#include "readers.hpp"
#include "sensor_store.hpp"
#include "writers.hpp"

#include <atomic>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace chiral::stress {

class LocalClients;

/// Where a fault happens. All of it outlives the fault.
struct FaultSite {
    SensorStore& store;
    const std::vector<CameraConfig>& cameras;
    const std::vector<ProprioConfig>& proprios;
    const Progress& progress;
    WriterFaults& writers;
    ConnectionTurn& turn;
    const LiveCounts& own_client;
    LocalClients* local;  ///< null without a local socket
    const std::atomic<bool>& stop;

    Engine& engine() const { return *store.engine(); }
    bool served() const { return store.server() != nullptr; }
    int port() const;  ///< of a server
};

struct FaultOutcome {
    std::string name;
    std::uint64_t happened{0};
    std::string measured;            ///< what happened, with figures
    std::string problem;             ///< what went wrong in it; empty: nothing
    std::size_t resident_before{0};  ///< bytes of memory, after the fault has gone on for a while
    std::size_t resident_after{0};   ///< at its end
    std::string not_resumed;         ///< why a newcomer is not served; empty: it is
};

/// Used by one thread. What it throws is its problem.
class Fault {
public:
    virtual ~Fault() = default;
    /// The pause between two calls of occur().
    virtual Nanoseconds interval() const { return Nanoseconds(0); }
    virtual void begin(FaultSite&) {}
    /// Makes it happen once more; returns soon, also at site.stop.
    virtual void occur(FaultSite& site) = 0;
    virtual void end(FaultSite&) {}
    /// At the end of the run, for a fault that lasts until then.
    virtual void finish(FaultSite&) {}
    virtual void tell(FaultOutcome& outcome) const = 0;  ///< `happened` and `measured`
};

/// Whose clients a fault is about.
enum class Needs : std::uint8_t { nothing, ws, local };

struct FaultEntry {
    std::string_view name;
    std::string_view what;
    Needs needs;
    bool needs_camera;
    std::unique_ptr<Fault> (*make)();
};

std::vector<FaultEntry> faults();
// Parts of faults():
std::span<const FaultEntry> network_faults() noexcept;
std::span<const FaultEntry> local_faults() noexcept;

/// Readers beyond those of the run that faults need at once: one that is stopped for good, and a newcomer.
inline constexpr int kFaultReaders = 2;
/// A client that takes nothing is dropped after this in a run with faults, so that the next one is served in time.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(NDEBUG)
inline constexpr std::chrono::seconds kFaultIdleTimeout{10};  // a well-behaved client must never be so slow
#else
inline constexpr std::chrono::seconds kFaultIdleTimeout{2};
#endif
/// What has to come in the end, comes within this.
inline constexpr std::chrono::seconds kFaultDeadline{20};
/// Memory that may be taken while a fault goes on: what allocators keep, and the buffers of a client that comes anew.
std::size_t memory_margin(const std::vector<CameraConfig>& cameras);

/// One after the other, each for an equal part of the time until `end`; sets `done`, waits for site.stop, and returns what
/// came of them.
std::vector<FaultOutcome> inject(const std::vector<FaultEntry>& faults, FaultSite site, SteadyTime end,
                                 std::atomic<bool>& done);

}  // namespace chiral::stress
