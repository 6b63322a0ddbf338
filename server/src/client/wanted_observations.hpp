// SPDX-License-Identifier: Apache-2.0
// Observations as a client wants them: asks for them over one connection, and makes plain arrays of what comes.
//
// Thread rule: any thread; one after the other.
#pragma once

#include "client/connection.hpp"
#include "imaging/unpack.hpp"

#include <chiral/want.hpp>

#include <memory>
#include <mutex>
#include <utility>

namespace chiral::client {

class WantedObservations {
public:
    /// What is known of the cameras counts for this connection only: versions of another server say nothing of its own.
    WantedObservations(std::shared_ptr<Connection> connection, Want want) : connection_(std::move(connection)) {
        request_.want = std::move(want);
    }
    bool of(const std::shared_ptr<Connection>& connection, const Want& want) const {
        return connection_ == connection && request_.want == want;
    }
    /// Decodes into `obs`. Throws std::invalid_argument for a want that is out of bounds, ConnectionError as ever.
    void get(Observation& obs);

private:
    const std::shared_ptr<Connection> connection_;
    std::mutex mutex_;
    wire::WantRequest request_;
    imaging::Unpacker unpacker_;
};

}  // namespace chiral::client
