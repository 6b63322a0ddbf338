// SPDX-License-Identifier: Apache-2.0
// Judges what one reader sees, look by look, against what the engine promises.
//
//   torn        a buffer is not what one update wrote (I1), or the engine saw a write to something that it had lent
//   incoherent  the buffers of a camera, with their numbers and times, were never current together (I2); with frame
//               transactions: are not all of one frame (I3)
//   backwards   a reader saw a newer frame, or a later capture time, before
//   stale       a newer frame had been published before the look began
//   frozen      the content is the same still after kFrozenAfter newer frames had been published, whatever numbers and times
//               come with it
//
// Every look: numbers, times, K, T and proprios whole, and a few pixels and depths at places that move on. The first look at
// a frame: a pixel of every 512 bytes as well. A full look: everything.
#pragma once

#include "frame_pattern.hpp"
#include "progress.hpp"
#include "sensor_store.hpp"

#include <fmt/format.h>

#include <cstdint>
#include <string>
#include <vector>

namespace chiral::stress {

/// So many frames may be published while a reader sees the same one: its source is stale then. With more it is frozen.
inline constexpr std::uint64_t kFrozenAfter = 10;

struct Tally {
    std::uint64_t looks{0};
    std::uint64_t full_looks{0};
    std::uint64_t torn{0};                      ///< buffers
    std::uint64_t incoherent{0};                ///< cameras in a look
    std::uint64_t backwards{0};                 ///< cameras and streams in a look
    std::uint64_t stale{0};                     ///< cameras and streams in a look
    std::uint64_t frozen{0};                    ///< cameras and streams in a look, which are stale as well
    std::vector<std::string> frozen_sources;    ///< each once, in a few words
    std::uint64_t mixed{0};                     ///< cameras whose fields were of two frames, which update_* calls allow
    std::uint64_t overruns{0};                  ///< proprio reads that the engine gave up and said so
    std::vector<std::uint64_t> missed_cameras;  ///< frames between two looks
    std::vector<std::uint64_t> missed_proprios;
    std::vector<std::string> examples;  ///< the first few violations, a sentence each

    std::uint64_t violations() const noexcept { return torn + incoherent + backwards + stale; }
    void merge(const Tally& other);
};

class LookChecker {
public:
    /// `who` begins the sentences: "reader 0". The configurations and `progress` must outlive the checker.
    LookChecker(std::string who, const std::vector<CameraConfig>& cameras, const std::vector<ProprioConfig>& proprios,
                Writes writes, const Progress& progress);

    /// Capture times may go back by this or more: the clock has been set. Never, if not called.
    void allow_clock_steps(std::chrono::nanoseconds least) noexcept { least_clock_step_ = least; }

    /// `floor` was read from the progress before the look began. Allocates only to describe a violation.
    void check(const Look& look, const Floor& floor, bool full);
    /// StoreReader::release() said that a lent slot was written to.
    void lent_slot_was_written();

    const Tally& tally() const noexcept { return tally_; }

private:
    struct CameraHistory {
        bool frozen{false};
        std::array<std::uint64_t, kFields> number{};
        std::array<std::chrono::nanoseconds, kFields> captured{};
    };
    struct ProprioHistory {
        bool frozen{false};
        std::uint64_t number{0};
        std::chrono::nanoseconds captured{0};
    };

    void check_camera(std::size_t index, const CameraLook& look, std::uint64_t floor, bool full);
    void check_proprio_stream(std::size_t index, const ProprioLook& look, std::uint64_t floor);
    std::optional<std::uint64_t> check_field(std::size_t index, const CameraLook& look, std::size_t field,
                                             std::uint64_t about, bool full);
    void judge_coherence(std::size_t index, const CameraLook& look, const std::array<std::uint64_t, kFields>& number,
                         bool depth);

    bool went_back(std::chrono::nanoseconds time, std::chrono::nanoseconds before) const noexcept {
        return time < before && before - time < least_clock_step_;
    }
    void judge_progress(bool& frozen, std::uint64_t before, std::uint64_t number, std::uint64_t floor, const char* kind,
                        const std::string& name);

    template <class Check>
    std::optional<Difference> sampled(std::size_t elements, bool new_frame, bool full, std::size_t dense_stride,
                                      Check check);
    template <class... Values>
    void violation(std::uint64_t& count, fmt::format_string<Values...> format, Values&&... values);

    const std::string who_;
    const std::vector<CameraConfig>& cameras_;
    const std::vector<ProprioConfig>& proprios_;
    const Writes writes_;
    const Progress& progress_;
    std::chrono::nanoseconds least_clock_step_ = std::chrono::nanoseconds::max();
    std::vector<CameraHistory> camera_history_;
    std::vector<ProprioHistory> proprio_history_;
    Tally tally_;
};

}  // namespace chiral::stress
