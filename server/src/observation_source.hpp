// Makes observations from the engine: pixels borrowed from pinned slots, everything else copied.
//
// Two pinned snapshots may be on loan at once: one on its way to the socket, one being prepared. Observations that come back
// by recycle() keep their strings and vectors for the next one, so that serving allocates nothing in the steady state.
//
// Thread rule: any thread, except that observations must not be shared between threads without synchronisation.
#pragma once

#include <chiral/engine.hpp>
#include <chiral/types.hpp>

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

namespace chiral {

class ObservationSource : public std::enable_shared_from_this<ObservationSource> {
public:
    /// Engine readers that the source uses for itself.
    static constexpr int kReaders = 3;

    ObservationSource(const std::vector<CameraConfig>& cameras, const std::vector<ProprioConfig>& proprios,
                      EngineOptions options);
    ~ObservationSource();

    Engine& engine() noexcept { return engine_; }

    /// Borrows if one of the two loans is free: wait-free, and free of allocation if an observation has been recycled.
    /// Copies under a lock otherwise.
    Observation make(double timestamp);
    /// Ends the observation's loans and keeps its memory.
    void recycle(Observation&& observation) noexcept;

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
        void add_ref() noexcept override;
        void drop_ref() noexcept override;

    private:
        std::atomic<std::uint32_t> busy_{0};
        std::atomic<std::uint32_t> references_{0};
        Reader reader_;
        std::optional<Snapshot> snapshot_;
        std::shared_ptr<ObservationSource> owner_;  // buffers on loan keep the slots alive
    };

    struct Recycled {
        std::atomic<std::uint32_t> state{0};  // 0 empty, 1 being used, 2 full
        Observation observation;
    };

    Observation fresh_storage();
    void fill(Observation& observation, const Snapshot& snapshot, double timestamp, Loan* loan);

    Engine engine_;
    // Sequence of each source in the last observation: its readers take turns, so none of them knows what was missed.
    std::vector<std::atomic<std::uint64_t>> shown_cameras_;
    std::vector<std::atomic<std::uint64_t>> shown_proprios_;
    std::array<Recycled, 4> recycled_;
    std::array<std::unique_ptr<PinnedSnapshot>, kReaders - 1> loans_;
    std::mutex copying_;  // guards copy_reader_, the way out when all loans are taken
    Reader copy_reader_;
    std::atomic<std::uint64_t> copies_{0};
};

}  // namespace chiral
