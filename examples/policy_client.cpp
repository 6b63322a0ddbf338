// SPDX-License-Identifier: Apache-2.0
// A policy: observes at 30 Hz, thinks, acts at 10 Hz.
//
//     policy_client [URI [ACTIONS]]     ws://127.0.0.1:8765 and 20, if not given
#include <chiral/client.hpp>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>

using namespace std::chrono_literals;

namespace {

// What a network would do: here, half of every joint.
chiral::Action infer(const chiral::Observation& seen) {
    chiral::Action action;
    action.N = 1;
    for (const float joint : seen.proprios.at(0).data) action.data.push_back(0.5f * joint);
    action.D = static_cast<int>(action.data.size());
    return action;
}

}  // namespace

int main(int argc, char** argv) try {
    const int actions = argc > 2 ? std::atoi(argv[2]) : 20;
    chiral::ClientOptions options;
    options.connect_timeout = 10s;
    chiral::PolicyClient robot(argc > 1 ? argv[1] : "ws://127.0.0.1:8765", options);
    robot.connect();
    robot.reset();
    robot.start_obs_stream(30);
    robot.start_action_dispatch(10);

    std::shared_ptr<const chiral::Observation> seen;
    for (int step = 0; step < actions; ++step) {
        const auto next = robot.wait_obs(seen, 10s);  // shared, never changed, pixels not copied
        if (!next) throw std::runtime_error("no observation came");
        seen = next;
        // Refused while 256 wait: a policy that is faster than the dispatch waits for it, or thinks less often.
        while (!robot.put_action(infer(*seen))) robot.wait_obs(seen, 100ms);
    }
    robot.stop_obs_stream();
    while (robot.queued_actions() > 0) robot.get_obs();  // all that was decided is sent
    robot.close();
    const chiral::ClientStats stats = robot.stats();
    std::printf("saw %llu observations, sent %llu actions\n", static_cast<unsigned long long>(stats.observations),
                static_cast<unsigned long long>(stats.actions_sent));
} catch (const std::exception& error) {
    std::fprintf(stderr, "policy_client: %s\n", error.what());
    return EXIT_FAILURE;
}
