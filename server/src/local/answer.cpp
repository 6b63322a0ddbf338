// SPDX-License-Identifier: Apache-2.0
#include "local/answer.hpp"

#include <stdexcept>

namespace chiral::local {

void Answer::begin(robot::Reply& reply, std::optional<std::uint32_t> loan) {
    places_.clear();
    gather_.assign(2, {});
    encoder_.encode(reply);
    gather_[1] = encoder_.head();
    const bool lent = place_pieces();
    if (lent && !loan) throw std::logic_error("an observation is to be lent to a client that holds all that it may");
    loan_ = lent ? loan : std::nullopt;
    observation_ = &reply.result.obs;
    net::write_table(lent ? *loan + 1 : 0, gather_[1].size(), places_, table_);
    gather_[0] = table_;
    writer_.begin(gather_);
}

// Whether some of it lies in the arena.
bool Answer::place_pieces() {
    const auto* begin = reinterpret_cast<const std::uint8_t*>(arena_.data());
    const auto* end = begin + arena_.size();
    bool lent = false;
    for (const wire::Bytes& piece : encoder_.payload()) {
        if (piece.data() >= begin && piece.data() + piece.size() <= end) {
            places_.push_back({piece.size(), static_cast<std::uint64_t>(piece.data() - begin)});
            lent = true;
        } else {
            places_.push_back({piece.size(), net::kComesAlong});
            gather_.push_back(piece);
        }
    }
    return lent;
}

}  // namespace chiral::local
