// SPDX-License-Identifier: Apache-2.0
#include <chiral/dtype.hpp>
#include <chiral/status.hpp>

#include <cstring>

namespace chiral {

std::string Status::message() const {
    const std::string quoted = std::string("'") + source_ + "'";
    const bool values = std::strcmp(what_, "proprio") == 0;
    const bool proprio = values || std::strcmp(what_, "sample") == 0;
    const std::string source = std::string(proprio                           ? "proprio "
                                           : std::strcmp(what_, "slot") == 0 ? "slot "
                                                                             : "camera ") +
                               quoted;
    const auto unknown = [this](const char* what, const char* many) {
        return std::string(what) + " index " + std::to_string(got_) + " does not exist: there are " +
               std::to_string(expected_) + ' ' + many + ", numbered from 0";
    };
    switch (code_) {
        case Errc::ok: return "ok";
        case Errc::unknown_camera: return unknown("camera", "cameras");
        case Errc::unknown_proprio: return unknown("proprio", "streams");
        case Errc::unknown_slot: return unknown("slot", "slots");
        case Errc::wrong_size:
            if (values) return source + ": got " + std::to_string(got_) + " values, expected " + std::to_string(expected_);
            return source + ": " + what_ + " has " + std::to_string(got_) + " bytes, expected " + detail_ +
                   std::to_string(expected_);
        case Errc::wrong_type:
            return source + ": " + what_ + " is of " + to_string(static_cast<DType>(expected_)) + " elements, got " +
                   detail_;
        case Errc::wrong_format:
            return source + ": " + what_ + ' ' + detail_ + (got_ != 0 ? ", got " + std::to_string(got_) : std::string());
        case Errc::no_depth: return source + ": got a depth map, but it was declared with has_depth = false";
        case Errc::not_finite:
            return source + ": " + (proprio ? "" : std::string(what_) + ' ') + "value " + std::to_string(got_) +
                   " is NaN or infinite, expected finite numbers";
        case Errc::writer_busy:
            return source + ": " + what_ +
                   " is being written by another thread; one thread at a time may write it (if that thread hangs or has "
                   "died, revoke it)";
        case Errc::revoked: return source + ": a field of this frame was revoked while it was open; nothing was published";
        case Errc::no_spare_slot:
            return source + ": the writer of its " + what_ +
                   " that was revoked before has not come back, so this one cannot be revoked as well";
        case Errc::nothing_filled: return source + ": the frame was committed, but none of its fields had been asked for";
        case Errc::closed: return "the frame has been committed or abandoned already";
    }
    return "unknown error";
}

}  // namespace chiral
