// SPDX-License-Identifier: Apache-2.0
// One policy's stream of observations, and how old they are when they come: for bench/shaped_link, whose server runs on the same
// machine, so that both have one clock.
//
//     chiral-bench-stream URI [--want WORDS] [--hz R] [--seconds S]
//
// Prints a JSON object.
#include "command_line.hpp"
#include "want_text.hpp"

#include <chiral/client.hpp>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <memory>
#include <string>
#include <vector>

namespace {

using namespace chiral;

nlohmann::json quantiles(std::vector<double> values) {
    if (values.empty()) return nullptr;
    std::sort(values.begin(), values.end());
    const auto at = [&](double part) {
        return values[static_cast<std::size_t>(part * static_cast<double>(values.size() - 1))];
    };
    return {{"p50", at(0.5)}, {"p99", at(0.99)}, {"max", values.back()}};
}

nlohmann::json measure(PolicyClient& client, double seconds) {
    std::vector<double> ages, round_trips;
    std::shared_ptr<const Observation> obs;
    // The first answers fill buffers and start threads.
    for (int i = 0; i < 10; ++i) obs = client.wait_obs(obs, std::chrono::seconds(30));
    const std::uint64_t bytes_before = client.stats().bytes_received;
    const TimePoint begin = Clock::now(),
                    end = begin + std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
    std::uint64_t count = 0;
    while (Clock::now() < end) {
        const auto next = client.wait_obs(obs, std::chrono::seconds(5));
        if (!next) continue;
        const double now = std::chrono::duration<double>(Clock::now().time_since_epoch()).count();
        for (const CameraInfo& camera : next->cameras) ages.push_back(1e3 * (now - camera.timestamp));
        round_trips.push_back(1e3 * client.stats().last_round_trip);
        obs = next;
        ++count;
    }
    const double elapsed = std::chrono::duration<double>(Clock::now() - begin).count();
    nlohmann::json extra = nlohmann::json::object();
    if (obs) {
        for (const auto& [key, value] : obs->extra) {
            if (const double* number = std::get_if<double>(&value)) extra[key] = *number;
            else if (const std::int64_t* integer = std::get_if<std::int64_t>(&value)) extra[key] = *integer;
        }
    }
    return {{"observations_per_s", static_cast<double>(count) / elapsed},
            {"bytes_per_s", static_cast<double>(client.stats().bytes_received - bytes_before) / elapsed},
            {"age_ms", quantiles(ages)},
            {"round_trip_ms", quantiles(round_trips)},
            {"extra", extra}};
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app("Streams observations from a server on this machine and prints their rate, size and age as JSON.",
                 "chiral-bench-stream");
    std::string uri, words;
    double hz = 30, seconds = 5, latency = 0;
    app.add_option("URI", uri, "Server to ask")->required()->type_name("");
    app.add_option("--want", words, "What to ask for, as chiral-probe takes it")->type_name("WORDS");
    app.add_option("--hz", hz, "Observations a second [30]")->type_name("R");
    app.add_option("--seconds", seconds, "How long [5]")->type_name("S");
    app.add_option("--latency", latency, "Budget of the stream in seconds; 0: none [0]")->type_name("S");
    if (const auto over = tools::parse_command_line(app, argc, argv)) return *over;
    try {
        PolicyClient client(uri);
        client.connect();
        if (words.empty()) {
            client.start_obs_stream(hz);
        } else {
            Want want = tools::parse_want(words);
            if (latency > 0) want.budget.emplace().latency = latency;
            client.start_obs_stream(hz, want);
        }
        std::puts(measure(client, seconds).dump().c_str());
        return 0;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "chiral-bench-stream: %s\n", error.what());
        return 1;
    }
}
