// SPDX-License-Identifier: Apache-2.0
#include "workload.hpp"

#include <chiral/slot.hpp>

#include <algorithm>
#include <array>
#include <limits>

namespace chiral::test {
namespace {

constexpr std::size_t kPixels = 48 * 64;

std::vector<CameraConfig> cameras() {
    CameraConfig wrist;
    wrist.name = "wrist";
    wrist.height = 48;
    wrist.width = 64;
    wrist.has_depth = true;
    CameraConfig side = wrist;
    side.name = "side";
    side.has_depth = false;
    CameraConfig deep;
    deep.name = "deep";
    deep.height = wrist.height;
    deep.width = wrist.width;
    deep.channels = 1;
    deep.image_dtype = DType::uint16;
    deep.two_dimensional = true;
    deep.has_depth = true;
    deep.depth_dtype = DType::uint16;
    CameraConfig compressed = side;
    compressed.name = "compressed";
    compressed.encoding = FrameEncoding::jpeg;
    return {wrist, side, deep, compressed};
}

std::vector<ProprioConfig> streams() {
    ProprioConfig joints{"joints", 7};
    joints.dtype = DType::float64;
    return {{"arm", 7}, {"grip", 1}, {"many", 4096}, joints};
}

struct Touch {
    std::array<float, 64> pressure;
};

EngineOptions options(int readers, TimePoint (*now)() noexcept) {
    EngineOptions o;
    o.readers = readers;
    o.verify_pins = true;
    o.now = now;
    o.slots = {slot_config<Touch>("touch")};
    return o;
}

// Filled before the traps are set; written in place later on.
std::array<std::uint8_t, 3 * kPixels> image_bytes;
std::array<std::uint8_t, 4 * kPixels> depth_bytes;
std::array<float, 4096> floats;
std::array<float, 4096> read_back;
std::array<double, 7> doubles;

std::uint64_t updates(Engine& engine) noexcept {
    std::uint64_t wrong = 0;
    ++image_bytes[7];
    wrong += !engine.update_image(0, image_bytes.data(), image_bytes.size()).ok();
    wrong += !engine.update_image(1, image_bytes.data(), image_bytes.size(), TimePoint{}).ok();
    wrong += !engine.update_depth(0, depth_bytes.data(), depth_bytes.size()).ok();
    wrong += !engine.update_intrinsics(0, Eigen::Matrix3d::Identity()).ok();
    wrong += !engine.update_extrinsics(0, Eigen::Matrix4d::Identity()).ok();
    wrong += !engine.update_image(1, ImageView{image_bytes.data(), 0, PixelFormat::bgr}).ok();
    wrong += !engine.update_image(2, image_bytes.data(), 2 * kPixels).ok();
    wrong += !engine.update_depth(2, depth_bytes.data(), 2 * kPixels).ok();
    wrong += !engine.update_image(3, image_bytes.data(), 17 + image_bytes[7]).ok();
    wrong += !engine.update_slot(0, floats.data(), sizeof(Touch)).ok();
    return wrong;
}

std::uint64_t frames(Engine& engine) noexcept {
    std::uint64_t wrong = 0;
    {
        Frame frame = engine.begin_frame(0);
        std::ranges::fill(frame.image(), std::uint8_t{5});
        std::ranges::fill(frame.depth(), 0.5f);
        frame.set_intrinsics(Eigen::Matrix3d::Identity());
        frame.set_extrinsics(Eigen::Matrix4d::Identity());
        Frame moved = std::move(frame);
        wrong += !moved.commit().ok();
    }
    Frame discarded = engine.begin_frame(1);
    wrong += discarded.image().empty();
    discarded.set_extrinsics(Eigen::Matrix4d::Identity());
    discarded.discard(Field::image);
    wrong += !discarded.commit().ok();
    Frame abandoned = engine.begin_frame(0);
    wrong += abandoned.depth().empty();
    return wrong;
}

std::uint64_t proprios(Engine& engine) noexcept {
    std::uint64_t wrong = 0;
    floats[0] += 0.25f;
    wrong += !engine.update_proprio(0, floats.data(), 7).ok();
    wrong += !engine.update_proprio(1, floats.data(), 1).ok();
    wrong += !engine.update_proprio(2, floats.data(), 4096).ok();
    wrong += !engine.update_proprio_as<double>(3, doubles).ok();
    return wrong;
}

std::uint64_t look_at(const Snapshot& snapshot) noexcept {
    std::uint64_t wrong = !snapshot.intact();
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < snapshot.cameras(); ++i) {
        const CameraView view = snapshot.camera(i);
        if (view.image().size() > 100) sum += view.image()[100];
        sum += view.missed() + view.version() + view.depth_bytes().size();
        wrong += view.intrinsics()[0] != 1.0 || view.extrinsics()[15] != 1.0;
        wrong += view.status() > SourceStatus::frozen;
        sum += static_cast<std::uint64_t>(view.age().count() + view.skew().count());
    }
    for (std::size_t i = 0; i < snapshot.proprios(); ++i) {
        const ProprioView view = snapshot.proprio(i);
        sum += view.sequence() + view.missed() + static_cast<std::uint64_t>(view.age().count());
        wrong += view.status() > SourceStatus::frozen;
    }
    const SlotView touch = snapshot.slot(0);
    sum += static_cast<std::uint64_t>(touch.bytes()[9]) + touch.sequence() + touch.missed();
    wrong += touch.status() > SourceStatus::frozen;
    sum += snapshot.proprio(3).values_as<double>().size();
    return wrong + (sum == 0);
}

std::uint64_t snapshots(Reader& reader) {
    std::uint64_t wrong = 0;
    TimePoint time;
    {
        Snapshot snapshot = reader.snapshot();
        const Snapshot moved = std::move(snapshot);
        wrong += look_at(moved);
        time = moved.time();
    }
    Snapshot aligned = reader.snapshot(time - std::chrono::microseconds(3));
    wrong += look_at(aligned);
    aligned.release();
    return wrong;
}

std::uint64_t reads(const Engine& engine) {
    Stamp stamp;
    std::uint64_t wrong = 0;
    wrong += engine.latest_proprio(0, {read_back.data(), 7}, &stamp) == ProprioRead::overrun;
    wrong += engine.latest_proprio(2, {read_back.data(), 4096}) == ProprioRead::overrun;
    wrong +=
        engine.proprio_at(0, stamp.captured - std::chrono::microseconds(5), {read_back.data(), 7}) == ProprioRead::overrun;
    wrong += engine.proprio_at(1, TimePoint{}, {read_back.data(), 1}) == ProprioRead::overrun;
    wrong += engine.proprio_at(2, TimePoint::max(), {read_back.data(), 4096}) == ProprioRead::overrun;
    wrong += engine.proprio_at(3, stamp.captured, {read_back.data(), 7}) == ProprioRead::overrun;
    wrong += engine.newest_frame(7) != 0;
    return wrong;
}

std::uint64_t errors(Engine& engine) noexcept {
    std::uint64_t wrong = 0;
    wrong += engine.update_image(0, image_bytes.data(), 12).code() != Errc::wrong_size;
    wrong += engine.update_image(9, image_bytes.data(), image_bytes.size()).code() != Errc::unknown_camera;
    wrong += engine.update_depth(1, depth_bytes.data(), depth_bytes.size()).code() != Errc::no_depth;
    wrong += engine.update_depth(0, nullptr, depth_bytes.size()).code() != Errc::wrong_size;
    const double nan = std::numeric_limits<double>::quiet_NaN();
    wrong += engine.update_intrinsics(0, Eigen::Matrix3d::Constant(nan)).code() != Errc::not_finite;
    wrong += engine.update_extrinsics(0, Eigen::Matrix4d::Constant(nan)).code() != Errc::not_finite;
    wrong += engine.update_proprio(0, floats.data(), 8).code() != Errc::wrong_size;
    wrong += engine.update_proprio(5, floats.data(), 7).code() != Errc::unknown_proprio;
    wrong += engine.update_slot(0, floats.data(), 1).code() != Errc::wrong_size;
    wrong += engine.update_image(2, ImageView{image_bytes.data(), 0, PixelFormat::bgr}).code() != Errc::wrong_format;
    wrong += !engine.begin_frame(2).depth().empty();
    Frame first = engine.begin_frame(0);
    Frame second = engine.begin_frame(0);
    wrong += first.image().empty() || !second.image().empty();
    wrong += second.commit().code() != Errc::writer_busy;
    wrong += second.commit().code() != Errc::closed;
    wrong += engine.begin_frame(0).commit().code() != Errc::nothing_filled;
    return wrong;
}

std::uint64_t waits(Engine& engine) {
    std::uint64_t wrong = 0;
    wrong += !engine.update_image(0, image_bytes.data(), image_bytes.size()).ok();
    wrong += !engine.wait_frame(0, engine.newest_frame(0) - 1, TimePoint::max());
    const std::array<std::uint64_t, 1> before{engine.newest_frame(0) - 1};
    wrong += !engine.wait_frames(before, TimePoint::max());
    wrong += !engine.update_slot(0, floats.data(), sizeof(Touch)).ok();
    const Source touch{Source::Kind::slot, 0};
    const std::array<Awaited, 1> any{Awaited{touch, engine.newest(touch) - 1}};
    wrong += !engine.wait(touch, any[0].after, TimePoint::max());
    wrong += engine.wait_any(any, TimePoint::max()) != 0;
    return wrong;
}

}  // namespace

Subject::Subject(int readers, TimePoint (*now)() noexcept)
    : engine(cameras(), streams(), options(readers, now)), reader(engine.make_reader()) {}

const char* to_string(Work work) noexcept {
    constexpr const char* names[] = {
        "updates", "frames", "proprios", "snapshots", "reads", "errors", "waits that do not sleep", "everything"};
    return names[static_cast<int>(work)];
}

std::uint64_t run(Subject& subject, Work work, std::uint64_t rounds) noexcept {
    const auto does = [work](Work part) { return work == part || work == Work::everything; };
    std::uint64_t wrong = 0;
    for (std::uint64_t i = 0; i < rounds; ++i) {
        if (does(Work::updates)) wrong += updates(subject.engine);
        if (does(Work::frames)) wrong += frames(subject.engine);
        if (does(Work::proprios)) wrong += proprios(subject.engine);
        if (does(Work::snapshots)) wrong += snapshots(subject.reader);
        if (does(Work::reads)) wrong += reads(subject.engine);
        if (does(Work::errors)) wrong += errors(subject.engine);
        if (does(Work::waits_that_do_not_sleep)) wrong += waits(subject.engine);
    }
    return wrong;
}

}  // namespace chiral::test
