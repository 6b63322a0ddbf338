// SPDX-License-Identifier: Apache-2.0
// Scales pictures: images by a triangle filter that widens as they shrink (bilinear with antialiasing), depth by taking the
// nearest pixel, because a mean of two depths is a depth that nothing has.
//
// Policies are trained on pictures that Pillow has resized, so images come out as Pillow's do, within one level. No library
// of Debian does that: libswscale and libyuv filter otherwise, OpenCV's INTER_AREA is a box and its INTER_LINEAR does not
// antialias, libvips is a framework with threads of its own. Hence this: the method is the one that Pillow documents
// (https://pillow.readthedocs.io/en/stable/handbook/concepts.html#filters), one dimension after the other, in fixed point.
//
// Thread rule: one thread at a time for each Resampler, which keeps its memory: nothing is allocated while sizes repeat.
#pragma once

#include "imaging/geometry.hpp"

#include <cstdint>
#include <vector>

namespace chiral::imaging {

class Resampler {
public:
    /// `source` is camera.height x camera.width x channels bytes, `out` gets placement.size x channels. Padding is 0.
    void image(const std::uint8_t* source, ImageSize camera, int channels, const Placement& placement, std::uint8_t* out);
    /// The same for a depth map. Padding is 0: nothing was measured there.
    void depth(const float* source, ImageSize camera, const Placement& placement, float* out);

private:
    /// The weights with which a row of samples makes another.
    struct Axis {
        struct Taps {
            int first;  // sample of the source
            int count;
            std::size_t weights;  // where theirs begin
        };
        std::vector<Taps> taps;  // one for each sample of the result
        std::vector<std::int32_t> weights;

        void prepare(double begin, double extent, int source, int result);
    };

    void across(const std::uint8_t* source, int width, int channels, int first_row, int rows);
    void down(int channels, int first_row, const Placement& placement, std::uint8_t* out);

    Axis x_, y_;
    std::vector<std::uint8_t> narrowed_;  // the rows that are needed, scaled across
    std::vector<std::int32_t> sums_;      // of one row
    std::vector<int> columns_;            // of the nearest pixels
    std::vector<double> prepared_;        // what the axes are prepared for
};

}  // namespace chiral::imaging
