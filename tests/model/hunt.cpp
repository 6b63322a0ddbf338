// SPDX-License-Identifier: Apache-2.0
#include "hunt.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <map>
#include <string>
#include <utility>

namespace chiral::model {

using core::Site;
using core::Step;

std::vector<Model>& registry() {
    static std::vector<Model> all;
    return all;
}

std::vector<Model> models() {
    std::vector<Model> sorted = registry();
    std::sort(sorted.begin(), sorted.end(), [](const Model& a, const Model& b) {
        return a.threads != b.threads ? a.threads < b.threads : std::strcmp(a.name, b.name) < 0;
    });
    return sorted;
}

namespace {

// Mutants that are no worse than what is shipped, and why.
struct Explained {
    const char* operation;
    const char* change;
    const char* why;
};

constexpr Explained kExplained[] = {
    {"pin_cas", "relaxed/acquire",
     "success reads this reader's own pending store, so there is nothing to acquire; shipped as acquire because compilers "
     "and checkers want the success order no weaker than the failure order, which is needed"},
    {"help_cas", "release/acquire",
     "success reads the pending store that scan_hazard_load has acquired already; shipped as acq_rel for the same reason"},
    {"bell_ring", "relaxed",
     "not seen here: Relacy performs the loads of a thread in their order, so the look at the sequences comes after that at "
     "the "
     "rings in any case; C++ promises it only because bell_look acquires what bell_ring releases"},
    {"bell_look", "relaxed", "not seen here, as bell_ring"},
};

const Explained* explanation(const Mutant& mutation) {
    for (const Explained& e : kExplained)
        if (mutation.operation() == e.operation && mutation.change() == e.change) return &e;
    return nullptr;
}

using Counts = std::array<std::uint64_t, static_cast<std::size_t>(Site::count_)>;

// Which sites a model reaches, found by running the unbroken core for a moment.
const Counts& sites_of(const Model& model) {
    static std::map<std::string, Counts> known;
    const auto [entry, is_new] = known.try_emplace(model.name);
    if (is_new) {
        const Mutant saved = std::exchange(mutant, {});
        reached.fill(0);
        model.run(Search::random, 0, 300);
        // What is reached only after another thread has ended is rare in random schedules.
        model.run(Search::preemption_bounded, 0, 300);
        entry->second = reached;
        mutant = saved;
    }
    return entry->second;
}

bool concerns(const Model& model, const Mutant& mutation) {
    const Counts& sites = sites_of(model);
    const auto has = [&](Site site) { return sites[static_cast<std::size_t>(site)] != 0; };
    switch (mutation.without) {
        case Step::count_: return has(mutation.site);
        case Step::ring_recheck: return has(Site::ring_guard_second);
        case Step::wait_recheck: return has(Site::bell_enter);
        case Step::look_at_view:
        case Step::look_at_note_again: return has(Site::news_load);
        case Step::new_occupant:
        case Step::check_occupant: return has(Site::guest_look);
        case Step::new_generation: return has(Site::claim_take);
        case Step::check_claim: return has(Site::claim_close);
        case Step::respect_publishing:
        case Step::quarantine_slot: return has(Site::claim_revoke);
        default: return has(Site::pin_pending_store);
    }
}

// Of those that are no worse nothing is found, however long one looks: they would be nine tenths of the time of all mutants. What a
// model notices it has so far noticed within 71,000 executions of all models together; the long hunt looks as far as for the others.
constexpr std::uint64_t kOfAnEquivalent = 100'000;

struct Kill {
    const Model* model{nullptr};  // null: survived
    std::uint64_t executions{0};  // of all models together
    std::string what;
};

// A few random executions of every model find most mutants at once; then all that a test run executes, up to `most` of each kind.
Kill hunt(const Mutant& mutation, const std::vector<Model>& chosen, std::uint64_t most = kSearchLimit) {
    Kill kill;
    const auto attempt = [&](const Model& model, Search search, std::uint64_t limit) {
        mutant = mutation;
        const Outcome outcome = model.run(search, model.quick.preemptions, limit);
        mutant = {};
        kill.executions += outcome.executions;
        if (!outcome.failed) return false;
        kill.model = &model;
        kill.what = outcome.what;
        return true;
    };
    std::vector<const Model*> concerned;
    for (const Model& model : chosen)
        if (concerns(model, mutation)) concerned.push_back(&model);
    for (const Model* model : concerned)
        if (attempt(*model, Search::random, 10'000)) return kill;
    for (const Model* model : concerned)
        if (attempt(*model, Search::preemption_bounded, most)) return kill;
    for (const Model* model : concerned)
        if (attempt(*model, Search::random, std::min(most, model->quick.random))) return kill;
    return kill;
}

}  // namespace

bool hunt_one(const Mutant& mutation, const std::vector<Model>& chosen) {
    const Kill kill = hunt(mutation, chosen);
    if (!kill.model) {
        std::printf("%s, %s: survived %llu executions\n", mutation.operation().c_str(), mutation.change().c_str(),
                    static_cast<unsigned long long>(kill.executions));
        return true;
    }
    std::printf("%s, %s: killed by %s after %llu executions\n\n%s\n", mutation.operation().c_str(),
                mutation.change().c_str(), kill.model->name, static_cast<unsigned long long>(kill.executions),
                kill.what.c_str());
    return false;
}

bool hunt_all(const std::vector<Model>& chosen, bool thorough) {
    Counts total{};
    for (const Model& model : chosen)
        for (std::size_t site = 0; site < total.size(); ++site) total[site] += sites_of(model)[site];
    const auto reaches = [&](Site site) { return total[static_cast<std::size_t>(site)] != 0; };

    std::printf("| %-24s | %-15s | %-23s | %10s | %-23s |\n", "operation", "mutant", "killed by", "executions", "verdict");
    std::printf("|%s|%s|%s|%s|%s|\n", std::string(26, '-').c_str(), std::string(17, '-').c_str(),
                std::string(25, '-').c_str(), (std::string(11, '-') + ":").c_str(), std::string(25, '-').c_str());
    const auto row = [](const std::string& operation, const std::string& change, const char* by,
                        const std::string& executions, const char* verdict) {
        std::printf("| %-24s | %-15s | %-23s | %10s | %-23s |\n", operation.c_str(), change.c_str(), by, executions.c_str(),
                    verdict);
        std::fflush(stdout);
    };
    int killed = 0, explained = 0, unexplained = 0;
    std::string reasons;
    const std::vector<Mutant> mutants = all_mutants();
    for (const Mutant& mutation : mutants) {
        const Explained* reason = explanation(mutation);
        const Kill kill = hunt(mutation, chosen, reason && !thorough ? kOfAnEquivalent : kSearchLimit);
        const char* verdict = "killed";
        if (!kill.model && reason) {
            ++explained;
            verdict = "equivalent, see below";
            reasons += mutation.operation() + " " + mutation.change() + ": " + reason->why + ".\n";
        } else if (kill.model && !reason) {
            ++killed;
        } else {
            ++unexplained;
            verdict = kill.model ? "KILLED, NOT EQUIVALENT" : "SURVIVES UNEXPLAINED";
        }
        row(mutation.operation(), mutation.change(), kill.model ? kill.model->name : "-", std::to_string(kill.executions),
            verdict);
    }
    // What is relaxed already has no mutant; it must still be reached, or nothing is known about it.
    for (const Site site : relaxed_sites())
        row(name_of(site), "none: relaxed", "-", "-", reaches(site) ? "as weak as it can be" : "NOT REACHED");
    int unreached = 0;
    for (std::size_t site = 0; site < total.size(); ++site) unreached += total[site] == 0;

    std::printf(
        "\n%s\n%zu mutants: %d killed, %d equivalent and explained, %d unexplained; %d operations that no model reaches\n",
        reasons.c_str(), mutants.size(), killed, explained, unexplained, unreached);
    return unexplained == 0 && unreached == 0;
}

}  // namespace chiral::model
