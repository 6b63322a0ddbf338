// SPDX-License-Identifier: Apache-2.0
#include "ws_reader.hpp"

#include "pacer.hpp"

#include <chiral/client.hpp>

#include <cmath>
#include <optional>

namespace chiral::stress {
namespace {

std::chrono::nanoseconds from_seconds(double seconds) { return std::chrono::nanoseconds(std::llround(seconds * 1e9)); }

// An observation as the checker sees things. Views into the observation, except for K and T, which it keeps by columns.
class ObservationLook {
public:
    const Look& of(const Observation& obs) {
        look_.cameras.resize(obs.cameras.size());
        look_.proprios.resize(obs.proprios.size());
        matrices_.resize(obs.cameras.size());
        for (std::size_t i = 0; i < obs.cameras.size(); ++i) {
            const CameraInfo& from = obs.cameras[i];
            Matrices& matrices = matrices_[i];
            Eigen::Map<Eigen::Matrix<double, 3, 3, Eigen::RowMajor>>(matrices.intrinsics.data()) = from.intrinsics;
            Eigen::Map<Eigen::Matrix<double, 4, 4, Eigen::RowMajor>>(matrices.extrinsics.data()) = from.extrinsics;
            CameraLook& to = look_.cameras[i];
            to.image = {from.image.data(), from.image.size()};
            to.depth = {};
            if (from.has_depth) to.depth = {from.depth_data.data(), from.depth_data.size()};
            to.intrinsics = matrices.intrinsics;
            to.extrinsics = matrices.extrinsics;
            to.sequence[0] = from.sequence;
            to.captured[0] = from_seconds(from.timestamp);
        }
        for (std::size_t i = 0; i < obs.proprios.size(); ++i) {
            const ProprioInfo& from = obs.proprios[i];
            look_.proprios[i] = {from.data, from.sequence, from_seconds(from.timestamp), false};
        }
        return look_;
    }

private:
    struct Matrices {
        std::array<double, 9> intrinsics;
        std::array<double, 16> extrinsics;
    };
    std::vector<Matrices> matrices_;
    Look look_;
};

// An observation of many megapixels takes seconds where sanitizers count every byte and the machine has company. That an
// answer comes late is judged by the verdict; a wait that never ends ends here.
constexpr std::chrono::seconds kPatience{60};

ClientOptions client_options() {
    ClientOptions options;
    options.connect_timeout = kPatience;
    options.request_timeout = kPatience;
    options.log = [](const std::string&) {};
    return options;
}

// A server that has not noticed yet that its last client is gone refuses the next one. False at `stop`.
bool connect_when_let_in(PolicyClient& client, std::chrono::seconds patience, const std::atomic<bool>& stop) {
    const SteadyTime deadline = std::chrono::steady_clock::now() + patience;
    while (!stop.load(std::memory_order_relaxed)) {
        try {
            client.connect();
            return true;
        } catch (const ConnectionError&) {
            if (std::chrono::steady_clock::now() > deadline) throw;
            sleep_until(std::chrono::steady_clock::now() + std::chrono::milliseconds(10), stop);
        }
    }
    return false;
}

}  // namespace

void read_over_ws(LookChecker& checker, const Progress& progress, const WsPlan& plan, ConnectionTurn& turn,
                  const std::atomic<bool>& stop, LiveCounts& live, WsTimes& times) {
    using std::chrono::steady_clock;
    PolicyClient client(plan.uri, client_options());
    client.connect();

    std::optional<Pacer> pacer;
    if (plan.hz > 0) pacer.emplace(Nanoseconds(static_cast<std::int64_t>(1e9 / plan.hz)), steady_clock::now());
    Observation obs;
    ObservationLook adapter;
    Floor floor;
    while (!stop.load(std::memory_order_relaxed)) {
        if (turn.wanted()) {
            client.close();
            turn.lend(stop);
            if (!connect_when_let_in(client, std::chrono::seconds(20), stop)) break;
        }
        if (pacer) pacer->wait(stop);
        progress.read(floor);
        const SteadyTime sent = steady_clock::now();
        client.get_obs(obs);
        const SteadyTime arrived = steady_clock::now();
        times.round_trip.record(arrived - sent);
        for (const CameraInfo& camera : obs.cameras) {
            const Nanoseconds age = arrived.time_since_epoch() - from_seconds(camera.timestamp);
            if (std::chrono::abs(age) >= plan.impossible_age) continue;
            times.age.record(age);
            if (age > plan.old_image) ++times.old_images;
        }
        checker.check(adapter.of(obs), floor, true);
        live.show(checker.tally());
    }
    times.bytes = client.stats().bytes_received;
    client.close();
}

void observe_once(LookChecker& checker, const Progress& progress, int port, std::chrono::seconds patience,
                  const std::atomic<bool>& stop) {
    PolicyClient client("ws://127.0.0.1:" + std::to_string(port), client_options());
    if (!connect_when_let_in(client, patience, stop)) return;
    Floor floor;
    progress.read(floor);
    const Observation obs = client.get_obs();
    ObservationLook adapter;
    checker.check(adapter.of(obs), floor, true);
    client.close();
}

}  // namespace chiral::stress
