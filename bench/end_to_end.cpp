// SPDX-License-Identifier: Apache-2.0
#include "end_to_end.hpp"

#include "plain_websocket.hpp"
#include "robot_process.hpp"
#include "tcp_loop.hpp"
#include "threads.hpp"

#include "pacer.hpp"

#include <chiral/client.hpp>

#include <fmt/format.h>

#include <functional>
#include <iterator>
#include <numeric>
#include <optional>

namespace chiral::bench {
namespace {

ClientOptions quiet_client() {
    ClientOptions options;
    options.log = [](const std::string&) {};
    options.retry_interval = std::chrono::milliseconds(5);  // while the robot is still busy with the last client's end
    return options;
}

std::string uri(const RobotProcess& robot) { return "ws://127.0.0.1:" + std::to_string(robot.server_port()); }

template <class Call>
void time_calls(Values& values, int count, Call&& call) {
    for (int i = 0; i < count; ++i) {
        const auto start = SteadyClock::now();
        call();
        values.push_back(static_cast<float>(std::chrono::nanoseconds(SteadyClock::now() - start).count()));
    }
}

ProcessCounters operator-(const ProcessCounters& a, const ProcessCounters& b) {
    return {a.cpu_ns - b.cpu_ns, a.in_kernel_ns - b.in_kernel_ns, a.user_by_ticks_ns - b.user_by_ticks_ns,
            a.kernel_calls - b.kernel_calls, a.allocations - b.allocations};
}
ProcessCounters operator+(const ProcessCounters& a, const ProcessCounters& b) {
    return {a.cpu_ns + b.cpu_ns, a.in_kernel_ns + b.in_kernel_ns, a.user_by_ticks_ns + b.user_by_ticks_ns,
            a.kernel_calls + b.kernel_calls, a.allocations + b.allocations};
}

Json row_of(const char* experiment, const ObservationCase& setup) {
    return {{"experiment", experiment}, {"observation", setup.name}, {"cameras", setup.cameras}};
}

constexpr double kCameraHz = 30;
// As good as 30, but 30 would meet the kernel's ticks, every 4 ms, at the same three places of a frame each time.
constexpr double kCameraHzBetweenTicks = 29.826;
constexpr int kWarmUps = 5;
constexpr int kStreamingWarmUps = 15;
constexpr int kLoopRounds = 5;

// Of one way in one repetition, in milliseconds, about.
double fetch_work(const ObservationCase& setup, std::size_t bytes) {
    return (kWarmUps + setup.per_repetition) * static_cast<double>(bytes) / 3e6;
}

Json cost_row(const ObservationCase& setup, const char* way, const ProcessCounters& cost, std::uint64_t observations) {
    const auto each = [&](auto value) { return static_cast<double>(value) / static_cast<double>(observations); };
    Json row = row_of("server_cost", setup);
    row["way"] = way;
    row["observations"] = observations;
    row["cpu_us"] = each(cost.cpu_ns) / 1e3;
    row["outside_calls_us"] = each(cost.cpu_ns - cost.in_kernel_ns) / 1e3;
    row["user_by_ticks_us"] = each(cost.user_by_ticks_ns) / 1e3;
    row["in_calls_us"] = each(cost.in_kernel_ns) / 1e3;
    row["kernel_calls"] = each(cost.kernel_calls);
    row["allocations"] = each(cost.allocations);
    return row;
}

// One way to fetch observations, and what came of it.
struct Way {
    const char* name;
    const char* cost_name;
    std::function<void()> connect, fetch, close;
    Values times{}, p50s{};
    ProcessCounters cost{};
};

// The ways to fetch from one robot. One client at a time is served, so only one of them is connected at once.
class Fetchers {
public:
    Fetchers(const RobotProcess& robot, std::size_t bytes) : robot_(robot), bytes_(bytes) {}
    Fetchers(const Fetchers&) = delete;

    std::vector<Way> ways() {
        return {bare_tcp(fastest_),
                {"policy_client", "one_after_the_other", [this] { connect_client(uri(robot_)); },
                 [this] { client_->get_obs(observation_); }, [this] { end_client(); }},
                {"local", "local", [this] { connect_client(robot_.local_uri()); },
                 [this] { client_->get_obs(observation_); }, [this] { end_client(); }},
                {"plain_websocket", "one_after_the_other_not_decoded", [this] { connect_plain(); },
                 [this] { plain_->fetch(); }, [this] { plain_.reset(); }}};
    }

    /// Measures the loop in every shape; the fastest is from then on what bare TCP is.
    const LoopShape& find_fastest_loop(int rounds, int count);

    std::vector<Way> ways_with_zenoh() {
        const Way zenoh{"zenoh", "", [this] { connect_client("zenoh://127.0.0.1:" + std::to_string(robot_.zenoh_port())); },
                        [this] { client_->get_obs(observation_); }, [this] { end_client(); }};
        std::vector<Way> all = ways();
        return {std::move(all[0]), std::move(all[1]), zenoh};
    }

private:
    Way bare_tcp(const LoopShape& shape) {
        return {"bare_tcp", "bare_tcp", [this] { floor_.emplace(robot_.floor_port(), bytes_); },
                [this, &shape] { floor_->fetch(shape); }, [this] { floor_.reset(); }};
    }
    void connect_client(const std::string& address) {
        while (!client_) try {
                client_.emplace(address, quiet_client());
                client_->connect();
            } catch (const ConnectionError& refused) {
                client_.reset();
                const std::string why = refused.what();  // in the words of the transport
                if (why.find("connected already") == std::string::npos &&
                    why.find("controls this robot") == std::string::npos)
                    throw;
            }
    }
    void end_client() {
        observation_ = {};  // what it holds of the robot's memory
        client_->close();
        client_.reset();
    }
    void connect_plain() {
        while (!plain_) try {
                plain_.emplace(robot_.server_port());
            } catch (const std::runtime_error& refused) {
                if (std::string(refused.what()).find("503") == std::string::npos) throw;  // the last client is still going
            }
    }

    const RobotProcess& robot_;
    const std::size_t bytes_;
    Observation observation_;
    std::reference_wrapper<const LoopShape> fastest_{kLoopShapes[1]};
    std::optional<GatherReader> floor_;
    std::optional<PolicyClient> client_;
    std::optional<PlainWebSocket> plain_;
};

// All connect anew in every repetition, and fetch some before it counts: the congestion window and the buffers of a new
// connection grow.
void repeat(Way& way, const RobotProcess& robot, int count) {
    way.connect();
    for (int k = 0; k < kWarmUps; ++k) way.fetch();
    Values times;
    const ProcessCounters before = robot.counters();
    time_calls(times, count, way.fetch);
    way.cost = way.cost + (robot.counters() - before);
    way.close();
    way.times.insert(way.times.end(), times.begin(), times.end());
    std::sort(times.begin(), times.end());
    way.p50s.push_back(static_cast<float>(quantile(times, 0.5)));
}

const LoopShape& Fetchers::find_fastest_loop(int rounds, int count) {
    std::vector<std::vector<float>> p50s(std::size(kLoopShapes));
    for (int round = 0; round < rounds; ++round)
        for (std::size_t i = 0; i < p50s.size(); ++i) {
            Way way = bare_tcp(kLoopShapes[i]);
            repeat(way, robot_, count);
            p50s[i].push_back(way.p50s.front());
        }
    const auto quickest = [](std::vector<float> values) {
        std::sort(values.begin(), values.end());
        return quantile(values, 0.5);
    };
    const auto best =
        std::min_element(p50s.begin(), p50s.end(), [&](const auto& a, const auto& b) { return quickest(a) < quickest(b); });
    fastest_ = kLoopShapes[best - p50s.begin()];
    return fastest_;
}

Json round_trip_row(const char* experiment, const ObservationCase& setup, std::size_t bytes, Way& way) {
    Json row = row_of(experiment, setup);
    row["way"] = way.name;
    row["bytes"] = bytes;
    row["repetitions"] = way.p50s.size();
    row.update(summarise(std::move(way.times)));
    row["p50_of_repetitions_ns"] = way.p50s;
    return row;
}

// In the rows of the floor: which of how many it was.
void note_shape(Json& rows, const LoopShape& loop) {
    for (Json& row : rows)
        if (row.value("way", "") == "bare_tcp" && row.contains("p50_ns") && !row.contains("shape")) {
            row["shape"] = loop.name;
            row["shapes"] = std::size(kLoopShapes);
        }
}

void measure_case(const ObservationCase& setup, const Plan& plan, ProgressLine& progress, Json& rows) {
    const std::vector<std::size_t> sizes = piece_sizes(setup);
    const std::size_t bytes = std::accumulate(sizes.begin(), sizes.end(), std::size_t{0});
    // Each process on a core of its own, for the floor as for the server: whether the scheduler puts sender and receiver on
    // one core would otherwise decide about a factor of two.
    pin_writer();
    RobotProcess robot(setup, 0);
    pin_reader(0);
    Fetchers fetchers(robot, bytes);
    const LoopShape& loop = fetchers.find_fastest_loop(kLoopRounds, std::max(3, setup.per_repetition / 2));
    std::vector<Way> ways = fetchers.ways();
    for (int repetition = 0; repetition < plan.repetitions; ++repetition)
        for (std::size_t i = 0; i < ways.size(); ++i) {
            repeat(ways[(i + static_cast<std::size_t>(repetition)) % ways.size()], robot,
                   setup.per_repetition);  // each is first
            progress.step(fetch_work(setup, bytes), fmt::format("observations, {}", setup.name));
        }
    unpin();

    for (Way& way : ways) rows.push_back(round_trip_row("round_trip", setup, bytes, way));
    note_shape(rows, loop);
    const auto observations =
        static_cast<std::uint64_t>(plan.repetitions) * static_cast<std::uint64_t>(setup.per_repetition);
    for (const Way& way : ways) rows.push_back(cost_row(setup, way.cost_name, way.cost, observations));
}

// Every observation shows frames that no other has shown, which is when the server looks at their content.
void measure_streaming_cost(const ObservationCase& setup, int count, ProgressLine& progress, Json& rows) {
    RobotProcess robot(setup, kCameraHzBetweenTicks);
    PolicyClient client(uri(robot), quiet_client());
    client.connect();
    robot.wait_for_frames(true);
    Observation observation;
    for (int i = 0; i < kStreamingWarmUps; ++i) client.get_obs(observation);
    const ProcessCounters before = robot.counters();
    for (int i = 0; i < count; ++i) {
        client.get_obs(observation);
        progress.step(1000 / kCameraHz, fmt::format("server's CPU time, {}", setup.name));
    }
    rows.push_back(cost_row(setup, "every_frame_at_30_hz", robot.counters() - before, static_cast<std::uint64_t>(count)));
}

void measure_actions(const char* load, const ObservationCase& setup, double camera_hz, bool observing, bool busy_cores,
                     int count, ProgressLine& progress, Json& rows) {
    RobotProcess robot(setup, camera_hz);
    PolicyClient client(uri(robot), quiet_client());
    client.connect();
    if (observing) client.start_obs_stream(30);
    std::optional<BusyCores> busy;
    if (busy_cores) busy.emplace();
    Action action;
    action.N = 1;
    action.D = 7;
    action.data.assign(7, 0.f);
    const std::atomic<bool> never{false};
    constexpr std::chrono::milliseconds period{2};
    stress::Pacer pacer(period, SteadyClock::now() + period);
    for (int i = 0; i < count; ++i) {
        pacer.wait(never);
        client.apply_action(action);
        progress.step(2, fmt::format("actions, {}", load));
    }
    client.get_metadata();  // is answered after what came before it was read
    Values latencies = robot.action_latencies();
    busy.reset();
    Json row = row_of("action", setup);
    row["load"] = load;
    row["sent"] = count;
    row.update(summarise(std::move(latencies)));
    rows.push_back(std::move(row));
}

void measure_client_age(const ObservationCase& setup, bool local, int count, ProgressLine& progress, Json& rows) {
    RobotProcess robot(setup, kCameraHz);
    PolicyClient client(local ? robot.local_uri() : uri(robot), quiet_client());
    client.connect();
    Observation observation;
    const std::atomic<bool> never{false};
    for (const bool next : {true, false}) {
        robot.wait_for_frames(next);
        client.get_obs(observation);
        Values ages;
        // Not a multiple of the camera's period, so that the question meets every phase of it.
        constexpr std::chrono::milliseconds period{41};
        stress::Pacer pacer(period, SteadyClock::now() + period);
        for (int i = 0; i < count; ++i) {
            if (!next) pacer.wait(never);
            client.get_obs(observation);
            ages.push_back(static_cast<float>((to_seconds(Clock::now()) - observation.cameras.front().timestamp) * 1e9));
            progress.step(37, fmt::format("age at the client, {}", setup.name));
        }
        Json row = row_of(local ? "local_age" : "client_age", setup);
        row["camera_hz"] = kCameraHz;
        row["asks_for"] = next ? "next" : "newest";
        row.update(summarise(std::move(ages)));
        rows.push_back(std::move(row));
    }
}

int ages_of(const Plan& plan) { return std::max(3, plan.actions / 20); }
int streamed(const Plan& plan) { return 2 * ages_of(plan); }

}  // namespace

double observations_work(const Plan& plan) {
    double work = 0;
    for (const ObservationCase& setup : plan.observations) {
        const std::vector<std::size_t> sizes = piece_sizes(setup);
        work += 4.0 * plan.repetitions * fetch_work(setup, std::accumulate(sizes.begin(), sizes.end(), std::size_t{0}));
    }
    return work + static_cast<double>(plan.observations.size()) * streamed(plan) * 1000 / kCameraHz;
}

void measure_observations(const Plan& plan, ProgressLine& progress, Json& rows) {
    for (const ObservationCase& setup : plan.observations) {
        measure_case(setup, plan, progress, rows);
        measure_streaming_cost(setup, streamed(plan), progress, rows);
    }
}

#ifdef CHIRAL_ZENOH
namespace {
const ObservationCase kOverZenoh{"4 x 640x480 RGB-D", 4, 480, 640, true, 20};
}

double zenoh_work(const Plan& plan) { return 3.0 * plan.repetitions * fetch_work(kOverZenoh, 8.6e6); }

void measure_zenoh(const Plan& plan, ProgressLine& progress, Json& rows) {
    const std::vector<std::size_t> sizes = piece_sizes(kOverZenoh);
    const std::size_t bytes = std::accumulate(sizes.begin(), sizes.end(), std::size_t{0});
    RobotProcess robot(kOverZenoh, 0, true);
    Fetchers fetchers(robot, bytes);
    const LoopShape& loop = fetchers.find_fastest_loop(kLoopRounds, kOverZenoh.per_repetition / 2);
    std::vector<Way> ways = fetchers.ways_with_zenoh();
    for (int repetition = 0; repetition < plan.repetitions; ++repetition)
        for (Way& way : ways) {
            repeat(way, robot, kOverZenoh.per_repetition);
            progress.step(fetch_work(kOverZenoh, bytes), "observations, Zenoh");
        }
    for (Way& way : ways) rows.push_back(round_trip_row("zenoh_round_trip", kOverZenoh, bytes, way));
    note_shape(rows, loop);
}
#endif

double actions_work(const Plan& plan) { return 3 * 2.0 * plan.actions + 4 * 37.0 * ages_of(plan); }

void measure_actions_and_ages(const Plan& plan, ProgressLine& progress, Json& rows) {
    const ObservationCase setup{"4 x 640x480 RGB-D", 4, 480, 640, true, 0};
    measure_actions("idle", setup, 0, false, false, plan.actions, progress, rows);
    measure_actions("observations", setup, kCameraHz, true, false, plan.actions, progress, rows);
    measure_actions("busy", setup, kCameraHz, true, true, plan.actions, progress, rows);
    for (const bool local : {false, true}) measure_client_age(setup, local, ages_of(plan), progress, rows);
}

}  // namespace chiral::bench
