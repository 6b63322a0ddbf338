// SPDX-License-Identifier: Apache-2.0
#include "client/streams.hpp"

namespace chiral::client {

// ---- observations ----

void ObservationStream::start(double hz, Get get) {
    auto turn = [this, get = std::move(get)] {
        std::shared_ptr<Observation> observation = pool_.take();
        if (fill(*observation, get)) publish(std::move(observation));
    };
    // An observation of an earlier stream must not pass for one of this. When start() throws because that stream still
    // runs, its observations stay.
    thread_.start(
        hz, std::move(turn), [this] { ended(); },
        [this] {
            std::lock_guard lock(mutex_);
            latest_.observation.reset();
            withdrawn_ = false;
        });
}

// False: the caller holds all that the server lends, and this period is skipped. Before that the stream lets go of what it has
// itself: what was used before, and then the latest one, which would grow old beside one that is looked at for long.
bool ObservationStream::fill(Observation& observation, const Get& get) {
    for (int attempt = 0;; ++attempt) {
        try {
            get(observation);
            return true;
        } catch (const LoanError&) {
            if (attempt > 1 || (attempt == 1 && !withdraw())) return false;
            pool_.let_go_of_loans();
        }
    }
}

bool ObservationStream::withdraw() {
    std::shared_ptr<const Observation> latest;  // freed after the lock
    const std::lock_guard lock(mutex_);
    if (latest_.observation.use_count() != 1) return false;  // others come by it under the lock only
    latest.swap(latest_.observation);
    withdrawn_ = true;
    return true;
}

void ObservationStream::publish(std::shared_ptr<const Observation> observation) {
    std::lock_guard lock(mutex_);
    latest_.observation.swap(observation);  // the previous one is freed after the lock
    withdrawn_ = false;
    ++latest_.number;
    changed_.notify_all();
}

void ObservationStream::ended() {
    {
        std::lock_guard lock(mutex_);  // nobody is between looking and waiting
        changed_.notify_all();
    }
    if (const std::optional<std::string> error = thread_.error()) log_("the observation stream ended: " + *error);
}

void ObservationStream::throw_error() const {
    if (const std::optional<std::string> error = thread_.error())
        throw ConnectionError("the observation stream ended: " + *error);
}

ObservationStream::Latest ObservationStream::latest() const {
    throw_error();
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !withdrawn_ || !thread_.running(); });
    return latest_;
}

ObservationStream::Latest ObservationStream::wait(const std::shared_ptr<const Observation>& previous,
                                                  TimePoint deadline) const {
    std::unique_lock lock(mutex_);
    const auto is_new = [&] { return latest_.observation != nullptr && latest_.observation != previous; };
    changed_.wait_until(lock, deadline, [&] { return is_new() || !thread_.running(); });
    throw_error();
    return is_new() ? latest_ : Latest{};
}

// ---- actions ----

// The first of the queue. Until it is sent, or has failed, it still counts as queued: who waits until nothing is queued any more, and
// then closes the client, must not cut it off.
class ActionDispatch::Taken {
public:
    Taken(ActionDispatch& dispatch, Message& message) : dispatch_(dispatch) {
        std::lock_guard lock(dispatch_.mutex_);
        if (dispatch_.queue_.empty()) return;
        message = std::move(dispatch_.queue_.front());
        dispatch_.queue_.pop_front();
        dispatch_.taken_ = 1;
    }
    ~Taken() {
        std::lock_guard lock(dispatch_.mutex_);
        dispatch_.taken_ = 0;
    }
    Taken(const Taken&) = delete;
    Taken& operator=(const Taken&) = delete;

    explicit operator bool() const { return dispatch_.taken_ > 0; }  // written by this thread alone

private:
    ActionDispatch& dispatch_;
};

void ActionDispatch::start(double hz, Send send) {
    auto turn = [this, send = std::move(send)] {
        std::lock_guard sending(sending_);
        if (intervals_ > 0) return;
        Message message;
        const Taken taken(*this, message);
        if (!taken) return;
        send(message);
    };
    thread_.start(hz, std::move(turn), [this] { ended(); });
}

void ActionDispatch::ended() {
    if (const std::optional<std::string> error = thread_.error()) log_("the action dispatch ended: " + *error);
}

void ActionDispatch::throw_error() const {
    if (const std::optional<std::string> error = thread_.error())
        throw ConnectionError("the action dispatch ended: " + *error);
}

bool ActionDispatch::put(Message message) {
    throw_error();
    std::lock_guard lock(mutex_);
    if (queue_.size() >= max_queued_) return false;
    queue_.push_back(std::move(message));
    return true;
}

bool ActionDispatch::replace(std::deque<Message> messages) {
    throw_error();
    if (messages.size() > max_queued_) return false;
    std::lock_guard lock(mutex_);
    queue_.swap(messages);
    return true;
}

void ActionDispatch::hold(int by) {
    std::lock_guard sending(sending_);
    intervals_ += by;
    clear();
}

void ActionDispatch::clear() {
    std::lock_guard lock(mutex_);
    queue_.clear();
}

std::size_t ActionDispatch::size() const {
    std::lock_guard lock(mutex_);
    return queue_.size() + taken_;
}

}  // namespace chiral::client
