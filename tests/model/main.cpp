// SPDX-License-Identifier: Apache-2.0
// chiral-models: runs the models of the engine's core, and shows that they notice when it is broken.
#include "command_line.hpp"
#include "hunt.hpp"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

namespace {

using namespace chiral::model;

unsigned long long printable(std::uint64_t n) { return n; }

/// False if the model failed; its history is printed then.
bool run(const Model& model, const Effort& effort, std::uint64_t search_limit) {
    const auto start = std::chrono::steady_clock::now();
    Outcome outcome = model.run(Search::preemption_bounded, effort.preemptions, search_limit);
    const bool complete = outcome.complete;
    const std::uint64_t searched = outcome.executions;
    std::uint64_t at_random = 0;
    if (!outcome.failed && effort.random > 0) {
        outcome = model.run(Search::random, 0, effort.random);
        at_random = outcome.executions;
    }
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    std::printf("%-26s %s  %s %llu executions with up to %u preemptions, %llu random ones, %.1f s\n", model.name,
                outcome.failed ? "FAILED" : "passed", complete ? "all" : "the first", printable(searched),
                effort.preemptions, printable(at_random), seconds);
    if (outcome.failed) std::printf("\n%s\n", outcome.what.c_str());
    std::fflush(stdout);
    return !outcome.failed;
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app{"Runs small programs on the engine's shipped core, under C++'s memory model, in every order.",
                 "chiral-models"};
    app.footer(chiral::tools::exit_codes);
    bool list = false, quick = false, thorough = false, mutants = false;
    std::vector<std::string> names;
    std::string order, step;
    int preemptions = -1;
    std::int64_t random = -1;
    app.add_flag("--list", list, "Print the models");
    app.add_option("--model", names, "Only these models");
    auto* quick_flag = app.add_flag("--quick", quick, "About a minute for all models (default)");
    app.add_flag("--long", thorough, "More preemptions, more random executions: about an hour")->excludes(quick_flag);
    app.add_option("--preemptions", preemptions, "Search up to so many, instead of the model's own number");
    app.add_option("--random", random, "So many random executions, instead of the model's own number");
    auto* mutant_option = app.add_option("--mutant", order, "Weaken one operation: SITE=ORDER or SITE=ORDER/FAILURE_ORDER");
    auto* step_option = app.add_option("--without", step, "Leave out one step of the protocol")->excludes(mutant_option);
    app.add_flag("--mutants", mutants,
                 "Print for every operation which model fails when it is weakened; with --long also look at "
                 "the equivalent ones as far as at the others")
        ->excludes(mutant_option)
        ->excludes(step_option);
    if (const auto over = chiral::tools::parse_command_line(app, argc, argv)) return *over;

    std::vector<Model> chosen;
    for (const Model& model : models())
        if (names.empty() || std::find(names.begin(), names.end(), model.name) != names.end()) chosen.push_back(model);
    std::vector<std::string> known;
    for (const Model& model : models()) known.emplace_back(model.name);
    for (const std::string& name : names)
        if (std::find(known.begin(), known.end(), name) == known.end())
            return chiral::tools::wrong_usage("chiral-models", "--model: there is no model '" + name + "'" +
                                                                   chiral::tools::did_you_mean(name, known) +
                                                                   "; --list prints them");
    if (list) {
        for (const Model& model : chosen) std::printf("%-26s %s\n", model.name, model.summary);
        return 0;
    }
    if (mutants) return hunt_all(chosen, thorough) ? 0 : 1;
    if (!order.empty() || !step.empty()) {
        const auto mutation = order.empty() ? parse_without(step) : parse_order(order);
        if (!mutation) {
            std::fprintf(stderr, "chiral-models: '%s' is not SITE=ORDER or a step of chiral/core/atomics.hpp\n",
                         order.empty() ? step.c_str() : order.c_str());
            return 2;
        }
        return hunt_one(*mutation, chosen) ? 0 : 1;
    }
    bool passed = true;
    for (const Model& model : chosen) {
        Effort effort = thorough ? model.thorough : model.quick;
        if (preemptions >= 0) effort.preemptions = static_cast<unsigned>(preemptions);
        if (random >= 0) effort.random = static_cast<std::uint64_t>(random);
        passed = run(model, effort, thorough ? kLongSearchLimit : kSearchLimit) && passed;
    }
    return passed ? 0 : 1;
}
