// SPDX-License-Identifier: Apache-2.0
// Makes observations from the engine: pixels borrowed from pinned slots, everything else copied.
//
// Two pinned snapshots may be on loan at once: one on its way to the socket, one being prepared. Where clients on the same
// machine are lent observations, which they keep for a while, there are as many more as one of them may hold. Each observer has
// one more of its own, a local one as many as it may hold. Observations that come back by recycle() keep their strings and vectors for the next one, so that serving
// allocates nothing in the steady state.
//
// Thread rule: any thread, except that observations must not be shared between threads without synchronisation.
#pragma once

#include "robot/recycler.hpp"

#include <chiral/engine.hpp>
#include <chiral/types.hpp>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace chiral::robot {

/// How one source is doing.
struct SourceReport {
    enum class Kind : std::uint8_t { camera, proprio, slot };
    std::string name;
    Kind kind{Kind::proprio};
    std::uint64_t sequence{0};
    std::uint64_t missed{0};  // by the client in control, since start
    std::uint64_t ahead{0};   // that somebody looked at and that were stamped by another clock, since start
    double hz{0};             // since the previous report, or the one before if that was a moment ago
    double age{0};            // seconds; negative: never published
    SourceStatus status{SourceStatus::never};
};

class ObservationSource : public std::enable_shared_from_this<ObservationSource> {
public:
    /// Engine readers that the source uses for itself.
    static constexpr int kReaders = 3;

    /// Who may look at once.
    struct Seats {
        int observers{0};        ///< with an engine reader each
        int local_observers{0};  ///< with kMostHeld each
        bool lends{false};       ///< a client in control may hold kMostHeld observations
        /// Engine readers for all of them.
        int readers() const noexcept { return observers + (local_observers + (lends ? 1 : 0)) * kMostHeld; }
    };
    /// Observations that a client on the same machine may hold.
    static constexpr int kMostHeld = 2;

    using LogLine = std::function<void(const std::string&)>;

    /// `log` gets what is wrong with a source; it must not throw.
    ObservationSource(const std::vector<CameraConfig>& cameras, const std::vector<ProprioConfig>& proprios,
                      EngineOptions options, Seats seats, LogLine log);
    ~ObservationSource();

    Engine& engine() noexcept { return engine_; }

    /// Borrows if one of the loans is free: wait-free, and free of allocation if an observation has been recycled.
    /// Copies under a lock otherwise.
    Observation make(double timestamp);
    /// Ends the observation's loans and keeps its memory.
    void recycle(Observation&& observation) noexcept;

    /// The right to observe beside the client in control. Lends from readers of its own; one observation at a time, a local one
    /// kMostHeld.
    class Seat {
    public:
        Seat(std::shared_ptr<ObservationSource> source, int index) noexcept : source_(std::move(source)), index_(index) {}
        Seat(const Seat&) = delete;
        ~Seat() { source_->seats_[index_]->taken.store(false, std::memory_order_release); }
        /// Wait-free. Throws std::logic_error unless one of those that the seat has lent has been recycled.
        Observation observe();

    private:
        std::shared_ptr<ObservationSource> source_;
        int index_;
    };
    /// Null if all are taken.
    std::unique_ptr<Seat> take_seat() { return take_seat(0, observers_); }
    std::unique_ptr<Seat> take_local_seat() { return take_seat(observers_, seats_.size()); }

    /// Cameras, then streams, then slots. Takes a lock and looks at pictures: not for the network thread.
    std::vector<SourceReport> report();

    /// Publications of all sources since start, to see whether sensor threads still run.
    std::uint64_t publications();

    std::uint64_t copies() const noexcept { return copies_.load(std::memory_order_relaxed); }

private:
    // A snapshot on loan to the buffers of one observation. Free while `busy` is 0.
    class PinnedSnapshot final : public Loan {
    public:
        explicit PinnedSnapshot(Reader reader) : reader_(std::move(reader)) {}
        /// Takes a snapshot if nobody else has one on loan from here; the caller then holds one reference.
        bool take(std::shared_ptr<ObservationSource> owner);
        const Snapshot& snapshot() const noexcept { return *snapshot_; }
        bool on_loan() const noexcept { return busy_.load(std::memory_order_acquire) != 0; }
        void add_ref() noexcept override;
        void drop_ref() noexcept override;

    private:
        std::atomic<std::uint32_t> busy_{0};
        std::atomic<std::uint32_t> references_{0};
        Reader reader_;
        std::optional<Snapshot> snapshot_;
        std::shared_ptr<ObservationSource> owner_;  // buffers on loan keep the slots alive
    };

    class LoanHold;

    // What one client has been shown: its observations come from several readers in turn, so none of those knows what it
    // missed.
    struct Shown {
        std::atomic<std::uint64_t> sequence{0};
        std::atomic<std::uint64_t> missed{0};  // since start
    };
    using ShownSources = std::vector<Shown>;  // cameras, then streams, then slots

    using Loans = std::vector<std::unique_ptr<PinnedSnapshot>>;

    struct SeatState {
        SeatState(Loans lends, std::size_t sources) : loans(std::move(lends)), shown(sources) {}
        std::atomic<bool> taken{false};
        Loans loans;
        ShownSources shown;
    };

    // Of one source: samples that came with a capture time in the future.
    struct Ahead {
        std::atomic<std::uint64_t> sequence{0};  // of the newest that was looked at
        std::atomic<std::uint64_t> count{0};
    };

    Loans make_loans(int count);
    std::unique_ptr<Seat> take_seat(std::size_t first, std::size_t end);

    void fill(Observation& observation, const Snapshot& snapshot, double timestamp, Loan* loan, ShownSources& shown);
    void look_at_clock(std::size_t source, const std::string& name, std::uint64_t sequence, SourceStatus status);

    const LogLine log_;
    Engine engine_;
    std::vector<Ahead> ahead_;  // cameras, then streams, then slots
    ShownSources shown_;        // to the client in control
    Recycler<Observation> recycled_{8};
    Loans loans_;
    std::vector<std::unique_ptr<SeatState>> seats_;  // local ones last
    const std::size_t observers_;
    std::mutex copying_;  // guards copy_reader_, the way out when all loans are taken, and rates_
    Reader copy_reader_;
    struct Rate {
        TimePoint since{};
        std::uint64_t sequence{0};
        double hz{0};
    };
    std::vector<Rate> rates_;
    std::atomic<std::uint64_t> copies_{0};
};

}  // namespace chiral::robot
