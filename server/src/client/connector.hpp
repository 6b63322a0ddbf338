// SPDX-License-Identifier: Apache-2.0
// The connection that a client has, if it has one: makes it, patiently, and lets go of it.
//
// Thread rule: establish() and release() are called by one thread at a time, which the caller sees to; the rest by any.
#pragma once

#include "client/connection.hpp"
#include "client/guarded_log.hpp"

#include <condition_variable>
#include <memory>
#include <mutex>

namespace chiral::client {

class Connector {
public:
    Connector(const ClientOptions& options, LogLine log) : options_(options), log_(std::move(log)) {}

    /// Tries until a server is there, says no, the time is over, or another thread calls abort(): ConnectionError but for the
    /// first.
    void establish(const Endpoint& endpoint, Counters& counters);
    /// The connection, to be closed; null if there is none.
    std::shared_ptr<Connection> release();

    /// Throws ConnectionError if there is none.
    std::shared_ptr<Connection> current() const;
    bool connected() const;
    bool reads_directly() const;
    /// There was a connection and it has ended, but nobody has released it.
    bool broken() const;

    /// Makes establish() give up, now and until the object is gone.
    class Abort {
    public:
        explicit Abort(Connector& connector) : connector_(connector) { connector_.abort(); }
        ~Abort();
        Abort(const Abort&) = delete;
        Abort& operator=(const Abort&) = delete;

    private:
        Connector& connector_;
    };

private:
    void abort();
    std::shared_ptr<Connection> begin_attempt(const Endpoint& endpoint, Counters& counters);

    const ClientOptions& options_;
    const LogLine log_;

    mutable std::mutex mutex_;
    std::condition_variable aborted_;
    int aborts_{0};  // that stand
    std::shared_ptr<Connection> attempting_;
    std::shared_ptr<Connection> connection_;
};

}  // namespace chiral::client
