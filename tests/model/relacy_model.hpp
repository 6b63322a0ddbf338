// SPDX-License-Identifier: Apache-2.0
// Runs an rl::test_suite as a model, and registers it.
#pragma once

#include "relacy_atomics.hpp"

#include "model.hpp"

#include <ostream>
#include <sstream>
#include <string>

namespace chiral::model {

/// Relacy's search bounded by preemptions, with a limit on the executions.
template <rl::thread_id_t threads>
class BoundedSearch
    : public rl::tree_search_scheduler<BoundedSearch<threads>, rl::context_bound_scheduler_thread_info<threads>, threads> {
    using Base =
        rl::tree_search_scheduler<BoundedSearch<threads>, rl::context_bound_scheduler_thread_info<threads>, threads>;

public:
    using typename Base::shared_context_t;
    using typename Base::thread_info_t;

    BoundedSearch(rl::test_params& params, shared_context_t& shared, rl::thread_id_t dynamic_threads)
        : Base(params, shared, dynamic_threads) {}

    rl::thread_id_t iteration_begin_impl() {
        preemptions_left_ = this->params_.context_bound;
        return Base::iteration_begin_impl();
    }
    bool iteration_end_impl() {
        exhausted = Base::iteration_end_impl();
        return exhausted || this->iter_ >= this->params_.iteration_count;
    }
    bool can_switch(thread_info_t&) { return preemptions_left_ != 0; }
    void on_switch(thread_info_t& from) {
        if (from.state_ == rl::thread_state_running) --preemptions_left_;
    }
    double iteration_count_approx() { return 1.0; }

    inline static bool exhausted = false;

private:
    unsigned preemptions_left_{0};
};

template <class Test>
Outcome run_model(Search search, unsigned preemptions, std::uint64_t limit) {
    constexpr rl::thread_id_t threads = Test::params::thread_count;
    static_assert(threads <= ModelAtomics::kMaxThreads);
    using Bounded = BoundedSearch<threads>;
    using Random = rl::random_scheduler<threads>;

    // Relacy's own streams: while a context exists, operator new hands out the modelled program's memory.
    rl::ostringstream history;
    rl::ostringstream progress;
    rl::test_params params;
    params.output_stream = &history;
    params.progress_stream = &progress;
    params.search_type = search == Search::random ? rl::sched_random : rl::sched_bound;
    params.context_bound = preemptions;
    params.iteration_count = limit;
    const auto execute = [&](std::ostream& state, bool again) {
        return search == Search::random ? rl::run_test<Test, Random>(params, state, again)
                                        : rl::run_test<Test, Bounded>(params, state, again);
    };

    rl::ostringstream state;
    Outcome outcome;
    outcome.failed = execute(state, false) != rl::test_result_success;
    outcome.executions = params.stop_iteration;
    outcome.complete = search == Search::random || Bounded::exhausted;
    if (outcome.failed) {
        // Once more from the state in which it failed, with its history.
        params.initial_state = state.str();
        params.collect_history = true;
        rl::ostringstream ignored;
        execute(ignored, true);
        std::istringstream lines(history.str().c_str());
        for (std::string line; std::getline(lines, line);)
            if (line.find(", in atomic, ") == std::string::npos) outcome.what += line + '\n';  // not the initial values
    }
    return outcome;
}

template <class Test>
struct Registered {
    Registered(const char* name, const char* summary, Effort quick, Effort thorough) {
        registry().push_back({name, Test::params::thread_count, summary, quick, thorough, &run_model<Test>});
    }
};

/// Room for an over-aligned object: Relacy allocates a test suite with malloc().
template <class T>
class Aligned {
public:
    template <class... Args>
    explicit Aligned(Args&&... args) : object_(::new (place()) T(static_cast<Args&&>(args)...)) {}
    ~Aligned() { object_->~T(); }
    Aligned(const Aligned&) = delete;
    Aligned& operator=(const Aligned&) = delete;
    T* operator->() const { return object_; }
    T& operator*() const { return *object_; }

private:
    void* place() {
        const auto address = reinterpret_cast<std::uintptr_t>(bytes_);
        return reinterpret_cast<void*>((address + alignof(T) - 1) / alignof(T) * alignof(T));
    }
    unsigned char bytes_[sizeof(T) + alignof(T)];
    T* object_;
};

}  // namespace chiral::model
