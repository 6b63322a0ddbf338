// SPDX-License-Identifier: Apache-2.0
#include "faults.hpp"

#include "look_checker.hpp"
#include "ws_reader.hpp"

#include <chiral/server.hpp>

#include <fmt/format.h>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <exception>
#include <new>
#include <optional>
#include <stdexcept>
#include <system_error>
#include <thread>

namespace chiral::stress {
namespace {

using std::chrono::steady_clock;

// Waits for `reached`, a few milliseconds at a time. False at the deadline or at the end of the run.
template <class Reached>
bool await(const FaultSite& site, Reached reached) {
    const SteadyTime deadline = steady_clock::now() + kFaultDeadline;
    while (!reached()) {
        if (site.stop.load(std::memory_order_relaxed) || steady_clock::now() > deadline) return false;
        sleep_until(steady_clock::now() + std::chrono::milliseconds(2), site.stop);
    }
    return true;
}

std::size_t resident_bytes() {
    std::size_t pages = 0;
    std::FILE* const file = std::fopen("/proc/self/statm", "r");
    const bool read = file && std::fscanf(file, "%*u %zu", &pages) == 1;
    if (file) std::fclose(file);
    if (!read) throw std::runtime_error("cannot read /proc/self/statm");
    return pages * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

// Pins a snapshot and never goes on.
class StoppedReader final : public Fault {
public:
    Nanoseconds interval() const override { return std::chrono::milliseconds(20); }
    void begin(FaultSite& site) override {
        reader_ = site.store.make_reader();
        site.progress.read(floor_);
        look_ = &reader_->look();
        at_ = site.engine().newest_frame(0);
    }
    void occur(FaultSite& site) override { passed_ = site.engine().newest_frame(0) - at_; }
    // What it holds has to be what it was, however many frames have passed.
    void finish(FaultSite& site) override {
        if (!reader_) return;
        occur(site);
        LookChecker checker("the stopped reader", site.cameras, site.proprios, Writes::frame, site.progress);
        checker.check(*look_, floor_, true);
        if (!reader_->release()) checker.lent_slot_was_written();
        reader_.reset();
        if (checker.tally().violations() > 0) throw std::runtime_error(checker.tally().examples.front());
    }
    void tell(FaultOutcome& outcome) const override {
        outcome.happened = passed_;
        outcome.measured =
            fmt::format("a reader pinned everything until the end, {} frames of camera 0 went past it", passed_);
    }

private:
    std::unique_ptr<StoreReader> reader_;
    const Look* look_{nullptr};
    Floor floor_;
    std::uint64_t at_{0};
    std::uint64_t passed_{0};
};

// A thread fills a frame half, and ends without giving it back. Camera 0 is refused to everybody until it is revoked.
class DeadWriter final : public Fault {
public:
    void occur(FaultSite& site) override {
        // Every death costs the camera a few frames, because its writer is refused until somebody notices.
        constexpr std::uint64_t kFramesOfPeace = 8;
        const std::uint64_t first = site.engine().newest_frame(0);
        if (!await(site, [&] { return site.engine().newest_frame(0) >= first + kFramesOfPeace; })) return;
        std::thread(&DeadWriter::die, this, std::cref(site)).join();
        if (!left_open_) return;
        left_open_ = false;
        ++deaths_;
        auto& refused = site.writers.cameras[0].refused;
        const std::uint64_t before = refused.load(std::memory_order_relaxed);
        const bool noticed = await(site, [&] { return refused.load(std::memory_order_relaxed) > before; });
        const std::uint64_t newest = site.engine().newest_frame(0);
        for (const Field field : {Field::image, Field::depth, Field::intrinsics, Field::extrinsics})
            if (const Status revoked = site.engine().revoke_writer(0, field, WriterFate::dead); !revoked.ok())
                throw std::runtime_error(revoked.message());
        if (site.stop) return;
        if (!noticed) throw std::runtime_error("the camera's writer was not told writer_busy, though its fields were taken");
        if (!await(site, [&] { return site.engine().newest_frame(0) > newest; }) && !site.stop)
            throw std::runtime_error("after the dead writer was revoked, nothing was published");
        ++revived_;
    }
    void tell(FaultOutcome& outcome) const override {
        outcome.happened = revived_;
        outcome.measured =
            fmt::format("{} writers died in a frame, {} times it was revoked and written again", deaths_, revived_);
    }

private:
    void die(const FaultSite& site) {
        const auto got_all = [&] {
            Frame frame = site.engine().begin_frame(0);
            const std::span<std::uint8_t> image = frame.image();
            if (site.cameras[0].has_depth) frame.depth_bytes();
            frame.set_intrinsics(Eigen::Matrix3d::Identity());
            frame.set_extrinsics(Eigen::Matrix4d::Identity());
            if (!frame) return false;  // the camera's own writer is in a frame just now
            std::fill_n(image.begin(), image.size() / 2, std::uint8_t{0xdd});
            new (storage_) Frame(std::move(frame));  // never destroyed, as a killed thread destroys nothing
            return true;
        };
        left_open_ = await(site, got_all);
    }

    alignas(Frame) std::byte storage_[sizeof(Frame)];
    bool left_open_{false};
    std::uint64_t deaths_{0};
    std::uint64_t revived_{0};
};

// A driver hangs in a frame, is revoked, and comes back: it goes on filling what it was handed, and commits.
class LateWriter final : public Fault {
public:
    void occur(FaultSite& site) override {
        std::optional<Frame> late;
        const auto got_all = [&] {
            late.emplace(site.engine().begin_frame(0));
            late->image();
            if (site.cameras[0].has_depth) late->depth_bytes();
            late->set_intrinsics(Eigen::Matrix3d::Identity());
            late->set_extrinsics(Eigen::Matrix4d::Identity());
            return late->status().ok();
        };
        if (!await(site, got_all)) return;
        if (const Status revoked = site.engine().revoke_camera_writer(0); !revoked.ok())
            throw std::runtime_error(revoked.message());
        // Its successor publishes while it fills: the readers of the run would see a slot that both write.
        const std::uint64_t newest = site.engine().newest_frame(0);
        const std::span<std::uint8_t> image = late->image();
        const bool superseded = await(site, [&] {
            std::fill(image.begin(), image.end(), std::uint8_t{0xdd});
            return site.engine().newest_frame(0) > newest + 3;
        });
        const Status status = late->commit();
        if (status.code() != Errc::revoked) throw std::runtime_error("expected revoked, got: " + status.message());
        if (superseded) ++came_back_;
        else if (!site.stop) throw std::runtime_error("after the late writer was revoked, nothing was published");
    }
    void tell(FaultOutcome& outcome) const override {
        outcome.happened = came_back_;
        outcome.measured = fmt::format("{} writers came back after they were revoked, and published nothing", came_back_);
    }

private:
    std::uint64_t came_back_{0};
};

// The process forks under load, as a program that starts others does; the child lives for a while.
class Fork final : public Fault {
public:
    Nanoseconds interval() const override { return std::chrono::milliseconds(50); }
    void occur(FaultSite& site) override {
        std::array<int, 2> ends{};
        if (pipe2(ends.data(), O_CLOEXEC) != 0) throw std::system_error(errno, std::generic_category(), "pipe2");
        const pid_t child = fork();
        if (child == 0) {
            close(ends[1]);
            char byte = 0;
            _exit(read(ends[0], &byte, 1) == 0 ? 0 : 1);  // until the parent closes its end; touches nothing of the engine
        }
        close(ends[0]);
        const std::uint64_t newest = site.engine().newest_frame(0);
        const bool moved = child > 0 && await(site, [&] { return site.engine().newest_frame(0) > newest + 2; });
        close(ends[1]);
        if (child < 0) throw std::system_error(errno, std::generic_category(), "fork");
        int status = 0;
        waitpid(child, &status, 0);
        if (status != 0) throw std::runtime_error("the child did not end in order");
        if (moved) ++children_;
        else if (!site.stop) throw std::runtime_error("nothing was published while the child lived");
    }
    void tell(FaultOutcome& outcome) const override {
        outcome.happened = children_;
        outcome.measured = fmt::format("{} children were forked, and frames went on while they lived", children_);
    }

private:
    std::uint64_t children_{0};
};

// A second thread asks for the image while the camera's own writer has it.
class SecondWriter final : public Fault {
public:
    Nanoseconds interval() const override { return std::chrono::milliseconds(1); }
    void begin(FaultSite& site) override { site.writers.begin_early = true; }
    void end(FaultSite& site) override { site.writers.begin_early = false; }
    void occur(FaultSite& site) override {
        for (std::size_t camera = 0; camera < site.cameras.size(); ++camera) {
            if (!site.writers.cameras[camera].in_frame.load(std::memory_order_relaxed)) continue;
            Frame frame = site.engine().begin_frame(camera);
            if (!frame.image().empty()) {
                ++in_between_;  // the writer has just ended its frame
            } else if (frame.status().code() == Errc::writer_busy) {
                ++busy_;
            } else {
                throw std::runtime_error("expected writer_busy, got: " + frame.status().message());
            }
        }
    }
    void tell(FaultOutcome& outcome) const override {
        outcome.happened = busy_;
        outcome.measured = fmt::format("a second writer was told writer_busy {} times, and came between two frames {} times",
                                       busy_, in_between_);
    }

private:
    std::uint64_t busy_{0};
    std::uint64_t in_between_{0};
};

// All seats are taken, and more is asked for.
class ExtraReaders final : public Fault {
public:
    Nanoseconds interval() const override { return std::chrono::milliseconds(1); }
    void occur(FaultSite& site) override {
        for (;;) {
            try {
                readers_.push_back(site.store.make_reader());
            } catch (const std::runtime_error& error) {
                message_ = error.what();
                break;
            }
            if (readers_.size() > 64) throw std::runtime_error("64 readers more than were configured got a seat");
        }
        if (message_.find("configured readers exist already") == std::string::npos)
            throw std::runtime_error("the refusal does not say what is the matter: " + message_);
        ++refused_;
    }
    void end(FaultSite&) override { readers_.clear(); }
    void tell(FaultOutcome& outcome) const override {
        outcome.happened = refused_;
        outcome.measured = fmt::format("one reader too many was refused {} times", refused_);
    }

private:
    std::vector<std::unique_ptr<StoreReader>> readers_;
    std::string message_;
    std::uint64_t refused_{0};
};

// The drivers' clock jumps by an hour, forwards and backwards.
class ClockSteps final : public Fault {
public:
    Nanoseconds interval() const override { return std::chrono::milliseconds(50); }
    void begin(FaultSite& site) override { reader_.emplace(site.engine().make_reader()); }
    void occur(FaultSite& site) override {
        constexpr std::array<int, 4> kSteps{1, 0, -1, 0};
        set(site, kSteps[steps_++ % kSteps.size()]);
        see_new_frames(site);
        if (site.stop) return;
        const Snapshot snapshot = reader_->snapshot();
        for (std::size_t i = 0; i < site.cameras.size(); ++i) {
            const CameraView view = snapshot.camera(i);
            if (view.sequence() < seen_[i])
                throw std::runtime_error(fmt::format("camera '{}' went back from frame {} to {}", site.cameras[i].name,
                                                     seen_[i], view.sequence()));
            if (view.status() == SourceStatus::never || view.status() == SourceStatus::frozen)
                throw std::runtime_error(fmt::format("camera '{}' is called {} while its clock jumps", site.cameras[i].name,
                                                     to_string(view.status())));
        }
        for (std::size_t i = 0; i < site.proprios.size(); ++i) {
            values_.resize(static_cast<std::size_t>(site.proprios[i].size));
            static_cast<void>(site.engine().proprio_at(i, Clock::now(), values_));
            for (const float value : values_)
                if (!std::isfinite(value)) throw std::runtime_error("an interpolated value is not finite");
        }
    }
    void end(FaultSite& site) override {
        set(site, 0);
        const bool fresh = await(site, [&] {
            see_new_frames(site);
            const Snapshot snapshot = reader_->snapshot();
            for (std::size_t i = 0; i < site.cameras.size(); ++i)
                if (snapshot.camera(i).status() != SourceStatus::fresh) return false;
            return true;
        });
        reader_.reset();
        if (!fresh && !site.stop) throw std::runtime_error("not every camera is fresh though the clock is right again");
    }
    void tell(FaultOutcome& outcome) const override {
        outcome.happened = steps_;
        outcome.measured = fmt::format("{} steps of {} s forwards and back", steps_,
                                       std::chrono::duration_cast<std::chrono::seconds>(clock_step()).count());
    }

private:
    static void set(FaultSite& site, int steps) { site.writers.clock_offset = steps * clock_step().count(); }

    // Two frames of every camera: the first of them may have been captured before the step.
    void see_new_frames(FaultSite& site) {
        seen_.clear();
        for (std::size_t i = 0; i < site.cameras.size(); ++i) seen_.push_back(site.engine().newest_frame(i) + 1);
        const SteadyTime deadline = steady_clock::now() + kFaultDeadline;
        while (!site.stop) {
            if (site.engine().wait_frames(seen_, steady_clock::now() + std::chrono::milliseconds(50))) return;
            if (steady_clock::now() > deadline) throw std::runtime_error("wait_frames() does not see new frames");
        }
    }

    std::optional<Reader> reader_;
    std::vector<std::uint64_t> seen_;
    std::vector<float> values_;
    std::uint64_t steps_{0};
};

template <class Kind>
std::unique_ptr<Fault> make() {
    return std::make_unique<Kind>();
}

// ---- the run of them ----

// Empty if a newcomer sees everything move on.
std::string why_not_resumed(FaultSite& site) {
    Floor before;
    site.progress.read(before);
    const bool moved = await(site, [&] {
        for (std::size_t i = 0; i < site.cameras.size(); ++i)
            if (site.progress.camera(i) <= before.cameras[i]) return false;
        for (std::size_t i = 0; i < site.proprios.size(); ++i)
            if (site.progress.proprio(i) <= before.proprios[i]) return false;
        return true;
    });
    if (!moved) return site.stop ? "the run ended before" : "not every source publishes";
    LookChecker checker("a new reader", site.cameras, site.proprios, Writes::frame, site.progress);
    Floor floor;
    site.progress.read(floor);
    const std::unique_ptr<StoreReader> reader = site.store.make_reader();
    checker.check(reader->look(), floor, true);
    if (!reader->release()) checker.lent_slot_was_written();
    if (checker.tally().violations() > 0) return checker.tally().examples.front();
    if (!site.served()) return {};
    const std::uint64_t observations = site.own_client.looks;
    if (!await(site, [&] { return site.own_client.looks > observations; }))
        return "the run's own client gets no observation any more";
    return {};
}

void occur_until(Fault& fault, FaultSite& site, SteadyTime end, FaultOutcome& outcome) {
    const SteadyTime warm = steady_clock::now() + (end - steady_clock::now()) / 3;
    do {
        const SteadyTime began = steady_clock::now();
        fault.occur(site);
        if (outcome.resident_before == 0 && steady_clock::now() >= warm) outcome.resident_before = resident_bytes();
        sleep_until(std::min(end, began + fault.interval()), site.stop);
    } while (steady_clock::now() < end && !site.stop);
    if (outcome.resident_before == 0) outcome.resident_before = resident_bytes();
    outcome.resident_after = resident_bytes();
}

}  // namespace

int FaultSite::port() const { return store.server()->port(); }

std::vector<FaultEntry> faults() {
    std::vector<FaultEntry> all{
        {"stopped_reader", "a reader stops for good with everything pinned", Needs::nothing, true, make<StoppedReader>},
        {"dead_writer", "a writer dies in the middle of a frame, and is revoked", Needs::nothing, true, make<DeadWriter>},
        {"late_writer", "a writer is revoked in the middle of a frame, and comes back", Needs::nothing, true,
         make<LateWriter>},
        {"fork", "the process forks", Needs::nothing, true, make<Fork>},
        {"second_writer", "a second thread writes a camera that has a writer", Needs::nothing, true, make<SecondWriter>},
        {"extra_readers", "more readers than were configured", Needs::nothing, false, make<ExtraReaders>},
        {"clock_steps", "capture times jump by an hour, forwards and back", Needs::nothing, true, make<ClockSteps>},
    };
    for (const std::span<const FaultEntry> more : {network_faults(), local_faults()})
        all.insert(all.end(), more.begin(), more.end());
    return all;
}

std::size_t memory_margin(const std::vector<CameraConfig>& cameras) {
    std::size_t observation = 0;
    for (const CameraConfig& camera : cameras) observation += image_bytes(camera) + depth_bytes(camera);
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    constexpr std::size_t kKeptByAllocators = std::size_t{300} << 20;  // AddressSanitizer frees nothing until it has 256 MiB
#else
    constexpr std::size_t kKeptByAllocators = std::size_t{2} << 20;
#endif
    return kKeptByAllocators + 2 * observation;
}

std::vector<FaultOutcome> inject(const std::vector<FaultEntry>& faults, FaultSite site, SteadyTime end,
                                 std::atomic<bool>& done) {
    std::vector<std::unique_ptr<Fault>> all;
    std::vector<FaultOutcome> outcomes(faults.size());
    for (std::size_t i = 0; i < faults.size() && !site.stop; ++i) {
        const SteadyTime now = steady_clock::now();
        outcomes[i].name = faults[i].name;
        Fault& fault = *all.emplace_back(faults[i].make());
        try {
            fault.begin(site);
            occur_until(fault, site, now + (end - now) / static_cast<std::int64_t>(faults.size() - i), outcomes[i]);
            fault.end(site);
        } catch (const std::exception& error) {
            outcomes[i].problem = error.what();
        }
        try {
            outcomes[i].not_resumed = why_not_resumed(site);
        } catch (const std::exception& error) {
            outcomes[i].not_resumed = error.what();
        }
    }
    done = true;
    while (!site.stop) sleep_until(steady_clock::now() + std::chrono::milliseconds(50), site.stop);
    for (std::size_t i = 0; i < all.size(); ++i) {
        try {
            all[i]->finish(site);
        } catch (const std::exception& error) {
            if (outcomes[i].problem.empty()) outcomes[i].problem = error.what();
        }
        all[i]->tell(outcomes[i]);
    }
    outcomes.resize(all.size());
    return outcomes;
}

}  // namespace chiral::stress
