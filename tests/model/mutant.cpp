// SPDX-License-Identifier: Apache-2.0
#include "mutant.hpp"

namespace chiral::model {

using core::Site;
using core::Step;

namespace {

constexpr auto relaxed = std::memory_order::relaxed;
constexpr auto acquire = std::memory_order::acquire;
constexpr auto release = std::memory_order::release;
constexpr auto acq_rel = std::memory_order::acq_rel;
constexpr auto seq_cst = std::memory_order::seq_cst;

// In the order of core::Site.
constexpr const char* kSites[] = {
    "pin_pending_store", "pin_view_load",    "pin_cas",          "unpin_store",
    "own_view_load",     "scan_hazard_load", "help_view_load",   "help_cas",
    "publish_view_add",  "claim_look",       "claim_take",       "claim_close",
    "claim_drop",        "claim_discard",    "quarantine_load",  "quarantine_give_back",
    "revoke_look",       "quarantine_look",  "quarantine_set",   "claim_revoke",
    "quarantine_undo",   "bury_look",        "claim_bury",       "guard_load",
    "guard_open",        "guard_close",      "looks_view_load",  "looks_hazard_load",
    "looks_load",        "looks_store",      "seat_take",        "seat_drop",
    "guest_admit",       "guest_retire",     "guest_look",       "ring_own_head_load",
    "ring_guard_open",   "ring_word_store",  "ring_guard_close", "ring_head_store",
    "ring_head_load",    "ring_guard_first", "ring_word_load",   "ring_guard_second",
    "ring_claim_take",   "ring_claim_drop",  "ring_head_look",   "news_store",
    "news_first_view",   "news_load",        "news_second_view", "news_again",
    "bell_waiters_load", "bell_ring",        "bell_enter",       "bell_look",
    "bell_leave",
};
static_assert(std::size(kSites) == static_cast<std::size_t>(Site::count_));

constexpr const char* kSteps[] = {
    "help_pending_reader", "respect_failed_help", "fresh_epoch",     "scan_hazards",   "new_generation",
    "check_claim",         "respect_publishing",  "quarantine_slot", "ring_recheck",   "wait_recheck",
    "look_at_view",        "look_at_note_again",  "new_occupant",    "check_occupant",
};
static_assert(std::size(kSteps) == static_cast<std::size_t>(Step::count_));

constexpr std::memory_order kOrders[] = {relaxed, acquire, release, acq_rel, seq_cst};

std::optional<std::memory_order> parse_memory_order(const std::string& text) {
    for (const std::memory_order order : kOrders)
        if (text == name_of(order)) return order;
    return std::nullopt;
}

// The orders an operation could have instead: all weaker ones, the strongest first, so that a survivor tells how far the
// order could be lowered.
std::vector<std::memory_order> weaker(const Shipped& operation) {
    switch (operation.order) {
        case seq_cst:
            if (operation.kind == Kind::load) return {acquire, relaxed};
            if (operation.kind == Kind::store) return {release, relaxed};
            return {acq_rel, acquire, release, relaxed};
        case acq_rel: return {acquire, release, relaxed};
        case acquire:
        case release: return {relaxed};
        default: return {};
    }
}

}  // namespace

const char* name_of(Site site) { return site < Site::count_ ? kSites[static_cast<std::size_t>(site)] : "none"; }
const char* name_of(Step step) { return step < Step::count_ ? kSteps[static_cast<std::size_t>(step)] : "none"; }
const char* name_of(std::memory_order order) {
    switch (order) {
        case relaxed: return "relaxed";
        case std::memory_order::consume: return "consume";
        case acquire: return "acquire";
        case release: return "release";
        case acq_rel: return "acq_rel";
        case seq_cst: break;
    }
    return "seq_cst";
}

std::string Mutant::operation() const {
    if (without < Step::count_) return std::string("step ") + name_of(without);
    return site < Site::count_ ? name_of(site) : "none";
}

std::string Mutant::change() const {
    if (without < Step::count_) return "left out";
    if (site == Site::count_) return "none";
    return failure ? std::string(name_of(order)) + "/" + name_of(*failure) : name_of(order);
}

std::optional<Mutant> parse_order(const std::string& text) {
    const std::size_t equals = text.find('=');
    if (equals == std::string::npos) return std::nullopt;
    const std::size_t slash = text.find('/', equals);
    Mutant result;
    for (std::size_t i = 0; i < std::size(kSites); ++i)
        if (text.compare(0, equals, kSites[i]) == 0) result.site = static_cast<Site>(i);
    const auto order =
        parse_memory_order(text.substr(equals + 1, slash == std::string::npos ? std::string::npos : slash - equals - 1));
    if (result.site == Site::count_ || !order) return std::nullopt;
    result.order = *order;
    if (slash != std::string::npos) {
        result.failure = parse_memory_order(text.substr(slash + 1));
        if (!result.failure) return std::nullopt;
    }
    return result;
}

std::optional<Mutant> parse_without(const std::string& step) {
    for (std::size_t i = 0; i < std::size(kSteps); ++i)
        if (step == kSteps[i]) {
            Mutant result;
            result.without = static_cast<Step>(i);
            return result;
        }
    return std::nullopt;
}

std::vector<Mutant> all_mutants() {
    std::vector<Mutant> result;
    for (std::size_t i = 0; i < std::size(kSites); ++i) {
        if (!shipped[i]) continue;
        const Shipped& operation = *shipped[i];
        Mutant mutation;
        mutation.site = static_cast<Site>(i);
        for (const std::memory_order order : weaker(operation)) {
            mutation.order = order;
            if (operation.kind != Kind::compare_exchange || order == relaxed) result.push_back(mutation);
        }
        // A compare_exchange has a second order, for failure: each half alone.
        if (operation.kind == Kind::compare_exchange) {
            mutation.failure = operation.failure;
            for (const std::memory_order order : weaker(operation)) {
                mutation.order = order;
                result.push_back(mutation);
            }
            mutation.order = operation.order;
            for (const std::memory_order order : weaker({Kind::load, operation.failure, operation.failure})) {
                mutation.failure = order;
                result.push_back(mutation);
            }
        }
    }
    for (std::size_t i = 0; i < std::size(kSteps); ++i) {
        Mutant mutation;
        mutation.without = static_cast<Step>(i);
        result.push_back(mutation);
    }
    return result;
}

std::vector<Site> relaxed_sites() {
    std::vector<Site> result;
    for (std::size_t i = 0; i < std::size(kSites); ++i)
        if (shipped[i] && weaker(*shipped[i]).empty()) result.push_back(static_cast<Site>(i));
    return result;
}

}  // namespace chiral::model
