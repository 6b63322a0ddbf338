// SPDX-License-Identifier: Apache-2.0
#include "run.hpp"

#include "ending_signals.hpp"
#include "local_clients.hpp"
#include "private_store.hpp"
#include "real_time.hpp"
#include "store_server.hpp"
#include "worker.hpp"

#include <fmt/format.h>

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <stdexcept>

namespace chiral::stress {
namespace {

using std::chrono::steady_clock;

constexpr auto kStartTimeout = std::chrono::seconds(30);

// The writers of one store with what they measured.
struct WriterSet {
    explicit WriterSet(const Options& options)
        : progress(options.cameras.size(), options.proprios.size()),
          cameras(options.cameras.size()),
          proprios(options.proprios.size()) {}

    Progress progress;
    std::vector<WriterTimes> cameras;
    std::vector<WriterTimes> proprios;
};

struct ReaderSlot {
    std::unique_ptr<StoreReader> reader;
    std::unique_ptr<LookChecker> checker;
    LiveCounts live;
    ReaderTimes times;
};

// Everything that threads of the run touch.
class Run {
public:
    explicit Run(const Options& options)
        : options_(options),
          least_clock_step_(least_clock_step(options)),
          writers_(options),
          canaries_(options),
          local_(make_local_clients()),
          store_(options.engine->make(setup(options, serves(options.transport)))),
          canary_store_(make_private_store(
              setup(options, false), std::max(store_->slots_per_field(), static_cast<std::size_t>(options.readers) + 2))),
          readers_(static_cast<std::size_t>(options.readers)),
          writer_faults_(options.cameras.size()) {
        for (std::size_t i = 0; i < readers_.size(); ++i) {
            readers_[i].reader = store_->make_reader();
            readers_[i].checker = std::make_unique<LookChecker>(fmt::format("reader {}", i), options_.cameras,
                                                                options_.proprios, options_.writes, writers_.progress);
        }
        if (!options.faults.empty() && !store_->engine())
            throw std::invalid_argument(fmt::format("engine {} has no faults", options.engine->name));
        if (options.transport == Transport::ws)
            ws_checker_ = std::make_unique<LookChecker>(client_name(), options_.cameras, options_.proprios, options_.writes,
                                                        writers_.progress);
        if (serves(options.transport) && !store_->server())
            store_server_ =
                std::make_unique<StoreServer>(*store_, options_.cameras, options_.proprios, local_socket(options_));
        if (least_clock_step_ < Nanoseconds::max()) {
            for (ReaderSlot& slot : readers_) slot.checker->allow_clock_steps(least_clock_step_);
            if (ws_checker_) ws_checker_->allow_clock_steps(least_clock_step_);
        }
    }

    // The threads that are still there, because something threw, are joined as the last members.
    ~Run() {
        *stop_readers_ = true;
        stop_writers_ = true;
    }

    bool all_ended() const noexcept { return all_ended_; }

    RunResult go() {
        RunResult result;
        if (options_.real_time) {
            lock_all_memory();
            Worker trial("a thread", [] { enter_real_time(0); });
            trial.join_until(SteadyTime::max());
            if (!trial.failure().empty()) throw std::runtime_error(trial.failure());
            leave_to_real_time(real_time_cores());  // what is started from here on stays there, too, but for the writers
        }
        const SteadyTime writing_began = steady_clock::now();
        start_writers(*store_, writers_, "", 0);
        start_writers(*canary_store_, canaries_, "canary of ", 1);
        const SteadyTime start_deadline = steady_clock::now() + kStartTimeout;
        while (!writers_.progress.all_started() && steady_clock::now() < start_deadline && !result.interrupted)
            result.interrupted = wait_for_signal(steady_clock::now() + std::chrono::milliseconds(5));
        const SteadyTime began = steady_clock::now();
        if (writers_.progress.all_started() && !result.interrupted) {
            start_readers();
            start_faults(began);
            result.interrupted = show_progress(began);
        } else if (!result.interrupted) {
            result.errors.push_back("not every source could publish its first frame");
        }
        result.seconds = std::chrono::duration<double>(steady_clock::now() - began).count();
        let_signals_kill(result.interrupted);
        stop(result, writing_began);
        gather(result);
        return result;
    }

private:
    // A look comes some time after the one before, so the clock seems to jump by a little less.
    static Nanoseconds least_clock_step(const Options& options) {
        const bool steps = std::ranges::find(options.faults, "clock_steps", &FaultEntry::name) != options.faults.end();
        return steps ? clock_step() / 2 : Nanoseconds::max();
    }
    static StoreSetup setup(const Options& options, bool served) {
        StoreSetup setup{options.cameras, options.proprios, options.readers, served, options.writes};
        if (!options.faults.empty()) {
            setup.readers += kFaultReaders;
            setup.idle_timeout = kFaultIdleTimeout;
        }
        if (served) {
            setup.local_socket = local_socket(options);
            setup.local_observers = options.has_local_faults() ? 1 : 0;
            setup.direct_readers = options.direct_readers();
        }
        if (options.listen) {
            setup.listen = options.listen;
            setup.idle_timeout = kFaultIdleTimeout;
        }
        return setup;
    }

    // Empty but for runs that need one.
    static std::string local_socket(const Options& options) {
        if (options.transport != Transport::local) return {};
        return (std::filesystem::temp_directory_path() / fmt::format("chiral-stress-{}.sock", ::getpid())).string();
    }
    std::string client_name() const { return fmt::format("{} client", to_string(options_.transport)); }
    std::string client_uri() {
        return fmt::format("ws://127.0.0.1:{}{}", server()->port(), options_.listen ? "/observe" : "");
    }
    WsPlan asking_plan() const {
        return {options_.obs_hz, Nanoseconds(static_cast<std::int64_t>(3e9 / options_.camera_hz)), least_clock_step_};
    }
    ReaderPlan reading_plan() const {
        return {options_.reader_hz, Nanoseconds(static_cast<std::int64_t>(options_.hold_ms * 1e6)),
                std::chrono::milliseconds(500)};
    }
    // Before there are threads.
    std::unique_ptr<LocalClients> make_local_clients() const {
        if (options_.transport != Transport::local) return nullptr;
        const LocalPlan plan{
            options_.cameras,   options_.proprios, options_.writes, local_socket(options_), options_.direct_readers() > 0,
            options_.real_time, asking_plan(),     reading_plan(),  least_clock_step_};
        return std::make_unique<LocalClients>(plan, writers_.progress, *stop_readers_);
    }

    const LiveCounts& own_client() const noexcept { return local_ ? local_->room().asking_live : ws_live_; }
    PolicyServer* server() { return store_->server() ? store_->server() : store_server_.get(); }

    void start_writers(SensorStore& store, WriterSet& set, const char* prefix, int half) {
        const std::size_t cameras = options_.cameras.size();
        const std::size_t proprios = options_.proprios.size();
        const SteadyTime began = steady_clock::now() + std::chrono::milliseconds(20);
        // Spread over the period, canaries half way between the writers, so that they do not wake all at once.
        const auto schedule = [&](double hz, std::size_t index, std::size_t count) {
            const Nanoseconds period(static_cast<std::int64_t>(1e9 / hz));
            const auto slot = static_cast<std::int64_t>(2 * index) + half;
            return Schedule{period, began + period * slot / static_cast<std::int64_t>(2 * count)};
        };
        for (std::size_t i = 0; i < cameras; ++i)
            workers_.emplace_back(fmt::format("{}writer of camera '{}'", prefix, options_.cameras[i].name),
                                  [this, &store, &set, i, when = schedule(options_.camera_hz, i, cameras)] {
                                      before_writing(i);
                                      write_camera(store, options_.cameras[i], i, set.progress, when, stop_writers_,
                                                   set.cameras[i], faults_in(store));
                                  });
        for (std::size_t i = 0; i < proprios; ++i)
            workers_.emplace_back(fmt::format("{}writer of proprio '{}'", prefix, options_.proprios[i].name),
                                  [this, &store, &set, i, when = schedule(options_.proprio_hz, i, proprios)] {
                                      before_writing(i);
                                      write_proprio(store, options_.proprios[i], i, set.progress, when, stop_writers_,
                                                    set.proprios[i], faults_in(store));
                                  });
    }

    // A source and its canary share a core and a priority: what one of them has to wait for, the other has, too.
    void before_writing(std::size_t source) {
        if (options_.real_time) enter_real_time(static_cast<int>(source % static_cast<std::size_t>(real_time_cores())));
    }

    // Canaries have none.
    WriterFaults* faults_in(const SensorStore& store) {
        return options_.faults.empty() || &store != store_.get() ? nullptr : &writer_faults_;
    }

    void start_faults(SteadyTime began) {
        if (options_.faults.empty()) return;
        faults_done_ = false;
        // The rest of the time is for what comes after the last one.
        const SteadyTime end = began + Nanoseconds(static_cast<std::int64_t>(options_.seconds * 0.9e9));
        reading_.emplace_back("faults", [this, end] {
            outcomes_ = inject(options_.faults,
                               FaultSite{*store_, options_.cameras, options_.proprios, writers_.progress, writer_faults_,
                                         turn_, own_client(), local_.get(), *stop_readers_},
                               end, faults_done_);
        });
    }

    void start_readers() {
        const ReaderPlan plan = reading_plan();
        for (std::size_t i = 0; i < readers_.size(); ++i)
            reading_.emplace_back(fmt::format("reader {}", i), [this, i, plan] {
                ReaderSlot& slot = readers_[i];
                read_store(*slot.reader, *slot.checker, writers_.progress, plan, *stop_readers_, slot.live, slot.times);
            });
        if (serves(options_.transport)) {
            server()->serve();
            if (options_.listen) {
                fmt::print("listening on ws://127.0.0.1:{}\n", server()->port());
                std::fflush(stdout);
            }
            reading_.emplace_back(client_name(), [this] { local_ ? watch_local_client() : be_ws_client(); });
        }
    }

    void be_ws_client() {
        PolicyClient client(client_uri(), patient_client_options());
        client.connect();
        read_over_ws(client, *ws_checker_, writers_.progress, asking_plan(), turn_, *stop_readers_, ws_live_, ws_times_);
        client.close();
    }

    // It ends by itself when it is told to; if not, this thread counts as stuck.
    void watch_local_client() {
        Nursery::Child client = local_->start_own();
        const std::optional<std::string> end = client.ended_by(SteadyTime::max());
        if (!end->empty()) throw std::runtime_error("its process: " + *end);
    }

    // True if interrupted.
    bool show_progress(SteadyTime began) {
        const SteadyTime end = began + Nanoseconds(static_cast<std::int64_t>(options_.seconds * 1e9));
        const SteadyTime last = end + 4 * kFaultDeadline;  // a fault that is not over then is stuck
        const bool tty = ::isatty(STDOUT_FILENO) == 1;
        std::uint64_t looks_before = 0;
        std::uint64_t frames_before = total_frames();
        SteadyTime before = began;
        bool interrupted = false;
        for (int second = 1; (before < end || (!faults_done_ && before < last)) && !interrupted; ++second) {
            const SteadyTime second_ends = began + std::chrono::seconds(second);
            const SteadyTime tick = before < end ? std::min(end, second_ends) : second_ends;
            interrupted = wait_for_signal(tick);
            const SteadyTime now = steady_clock::now();
            const double took = std::chrono::duration<double>(now - before).count();
            std::uint64_t looks = 0, full = 0, violations = 0;
            const auto add = [&](const LiveCounts& live) {
                full += live.full_looks.load(std::memory_order_relaxed);
                violations += live.violations.load(std::memory_order_relaxed);
            };
            for (const ReaderSlot& slot : readers_) {
                looks += slot.live.looks.load(std::memory_order_relaxed);
                add(slot.live);
            }
            add(own_client());
            if (local_) add(local_->room().reading_live);
            const std::uint64_t frames = total_frames();
            // Fits 80 columns, so that it can be overwritten.
            std::string line =
                fmt::format("{:5.0f} s  {} snapshots, {:.0f}/s, {} full", std::chrono::duration<double>(now - began).count(),
                            looks, static_cast<double>(looks - looks_before) / took, full);
            if (serves(options_.transport))
                line += fmt::format(", {} obs", own_client().looks.load(std::memory_order_relaxed));
            line +=
                fmt::format(", {:.0f} fps, {} violations", static_cast<double>(frames - frames_before) / took, violations);
            fmt::print("{}{}{}", tty ? "\r" : "", line, tty ? "\x1b[K" : "\n");
            std::fflush(stdout);
            looks_before = looks;
            frames_before = frames;
            before = now;
        }
        if (tty) fmt::print("\n");
        return interrupted;
    }

    std::uint64_t total_frames() const {
        std::uint64_t frames = 0;
        for (std::size_t i = 0; i < writers_.progress.cameras(); ++i) frames += writers_.progress.camera(i);
        return frames;
    }

    void stop(RunResult& result, SteadyTime writing_began) {
        const auto join = [&](std::vector<Worker>& workers) {
            const SteadyTime deadline = steady_clock::now() + options_.stop_timeout;
            for (Worker& worker : workers) {
                if (!worker.join_until(deadline)) {
                    all_ended_ = false;
                    result.errors.push_back(fmt::format("{} is stuck: it did not end within {} s of being told to",
                                                        worker.name(), options_.stop_timeout.count()));
                } else if (!worker.failure().empty()) {
                    result.errors.push_back(worker.failure());
                }
            }
        };
        *stop_readers_ = true;
        join(reading_);
        if (serves(options_.transport)) {
            closing_.emplace_back("server", [this] {
                server()->stop();
                server()->wait();
            });
            join(closing_);
        }
        result.writing_seconds = std::chrono::duration<double>(steady_clock::now() - writing_began).count();
        stop_writers_ = true;
        join(workers_);
    }

    // Of threads that have ended only.
    void gather(RunResult& result) {
        result.writer_step_bound = store_->writer_step_bound();
        result.reader_step_bound = store_->reader_step_bound();
        const auto hz = [&](std::uint64_t published) {
            return published > 0 ? static_cast<double>(published - 1) / result.writing_seconds : 0.0;
        };
        const auto count = [&](const std::string& name, std::uint64_t published, std::uint64_t by_canary) {
            return SourceCount{name, published, hz(published), hz(by_canary), 0, 0, 0};
        };
        for (std::size_t i = 0; i < options_.cameras.size(); ++i)
            result.camera_sources.push_back(
                count(options_.cameras[i].name, writers_.progress.camera(i), canaries_.progress.camera(i)));
        for (std::size_t i = 0; i < options_.proprios.size(); ++i)
            result.proprio_sources.push_back(
                count(options_.proprios[i].name, writers_.progress.proprio(i), canaries_.progress.proprio(i)));
        if (!all_ended_) return;

        for (std::size_t i = 0; i < options_.cameras.size(); ++i) {
            result.cameras.writers.merge(writers_.cameras[i]);
            result.cameras.canaries.merge(canaries_.cameras[i]);
            result.camera_sources[i].skipped = writers_.cameras[i].skipped;
        }
        for (std::size_t i = 0; i < options_.proprios.size(); ++i) {
            result.proprios.writers.merge(writers_.proprios[i]);
            result.proprios.canaries.merge(canaries_.proprios[i]);
            result.proprio_sources[i].skipped = writers_.proprios[i].skipped;
        }
        result.every_reader_checked = true;
        for (const ReaderSlot& slot : readers_) {
            result.looks.merge(slot.checker->tally());
            result.readers.merge(slot.times);
            result.every_reader_checked = result.every_reader_checked && slot.checker->tally().full_looks > 0;
        }
        if (ws_checker_) result.observations = ws_checker_->tally();
        result.ws = ws_times_;
        if (local_) gather_local(result);
        result.faults = outcomes_;
        if (options_.listen) result.server = server()->stats();
        for (std::size_t i = 0; i < result.camera_sources.size(); ++i) {
            result.camera_sources[i].missed = result.looks.missed_cameras[i];
            if (result.observations) result.camera_sources[i].missed_over_ws = result.observations->missed_cameras[i];
        }
        for (std::size_t i = 0; i < result.proprio_sources.size(); ++i) {
            result.proprio_sources[i].missed = result.looks.missed_proprios[i];
            if (result.observations) result.proprio_sources[i].missed_over_ws = result.observations->missed_proprios[i];
        }
    }

    void gather_local(RunResult& result) const {
        const LocalRoom& room = local_->room();
        result.observations = room.asking.load();
        result.observations->missed_cameras.resize(options_.cameras.size());  // a process that was lost has left none
        result.observations->missed_proprios.resize(options_.proprios.size());
        result.ws = room.asking_times;
        if (options_.direct_readers() == 0) return;
        result.direct = room.reading.load();
        result.direct_times = room.reading_times;
    }

    const Options options_;
    const Nanoseconds least_clock_step_;
    const Shared<std::atomic<bool>> stop_readers_;
    std::atomic<bool> stop_writers_{false};
    WriterSet writers_;
    WriterSet canaries_;
    const std::unique_ptr<LocalClients> local_;  // before what has threads
    const std::unique_ptr<SensorStore> store_;
    const std::unique_ptr<SensorStore> canary_store_;
    std::vector<ReaderSlot> readers_;
    std::unique_ptr<StoreServer> store_server_;
    std::unique_ptr<LookChecker> ws_checker_;
    LiveCounts ws_live_;
    WsTimes ws_times_;
    WriterFaults writer_faults_;
    ConnectionTurn turn_;
    std::atomic<bool> faults_done_{true};
    std::vector<FaultOutcome> outcomes_;
    bool all_ended_{true};
    std::vector<Worker> workers_;  // last: joined before what they use is destroyed
    std::vector<Worker> reading_;
    std::vector<Worker> closing_;
};

}  // namespace

RunResult run(const Options& options) {
    block_signals();
    auto whole = std::make_shared<Run>(options);
    RunResult result = whole->go();
    if (!whole->all_ended()) result.stuck = std::move(whole);
    return result;
}

}  // namespace chiral::stress
