// SPDX-License-Identifier: Apache-2.0
#include "ws_reader.hpp"

#include "observation_look.hpp"
#include "pacer.hpp"

#include <optional>

namespace chiral::stress {
namespace {

// An observation of many megapixels takes seconds where sanitizers count every byte and the machine has company. That an
// answer comes late is judged by the verdict; a wait that never ends ends here.
constexpr std::chrono::seconds kPatience{60};

}  // namespace

ClientOptions patient_client_options() {
    ClientOptions options;
    options.connect_timeout = kPatience;
    options.request_timeout = kPatience;
    options.log = [](const std::string&) {};
    return options;
}

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

void read_over_ws(PolicyClient& client, LookChecker& checker, const Progress& progress, const WsPlan& plan,
                  ConnectionTurn& turn, const std::atomic<bool>& stop, LiveCounts& live, WsTimes& times) {
    using std::chrono::steady_clock;
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
}

void observe_once(LookChecker& checker, const Progress& progress, int port, std::chrono::seconds patience,
                  const std::atomic<bool>& stop) {
    PolicyClient client("ws://127.0.0.1:" + std::to_string(port), patient_client_options());
    if (!connect_when_let_in(client, patience, stop)) return;
    Floor floor;
    progress.read(floor);
    const Observation obs = client.get_obs();
    ObservationLook adapter;
    checker.check(adapter.of(obs), floor, true);
    client.close();
}

}  // namespace chiral::stress
