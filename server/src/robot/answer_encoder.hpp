// SPDX-License-Identifier: Apache-2.0
// The bytes of an answer, whatever was asked, as every transport sends them.
//
// Thread rule: one thread.
#pragma once

#include "robot/reply.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace chiral::robot {

class AnswerEncoder {
public:
    /// head() and payload() point into this and into `reply` until the next call. Throws std::invalid_argument for an
    /// observation, `extra` or `info` that cannot be encoded. Allocates nothing while observations are alike.
    void encode(const Reply& reply) {
        metadata_.clear();
        switch (reply.type) {
            case wire::RequestType::metadata: return wire::encode_metadata_response(reply.metadata, metadata_);
            case wire::RequestType::reset: return observation_.encode_reset_response(reply.result.obs, reply.result.info);
            case wire::RequestType::action: return observation_.encode_step_response(reply.result);
            default:
                if (reply.want) return observation_.encode_wanted_response(reply.result.obs);
                return observation_.encode_obs_response(reply.result.obs);
        }
    }
    wire::Bytes head() const noexcept { return metadata_.empty() ? observation_.head() : wire::Bytes(metadata_); }
    /// In order, behind the head.
    std::span<const wire::Bytes> payload() const noexcept {
        return metadata_.empty() ? observation_.payload() : std::span<const wire::Bytes>();
    }

private:
    wire::ObservationEncoder observation_;
    std::vector<std::uint8_t> metadata_;  // empty: the answer is an observation
};

}  // namespace chiral::robot
