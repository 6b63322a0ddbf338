// SPDX-License-Identifier: Apache-2.0
// Whoever drops what the engine says is told so by the compiler: dropped_results.cmake compiles this, and counts. Each of these
// lines drops one result.
#include <chiral/engine.hpp>
#include <chiral/slot.hpp>

void drop(chiral::Engine& engine, chiral::Frame& frame, chiral::Reader& reader, chiral::Slot<int>& slot) {
    using namespace chiral;
    const TimePoint time{};
    const Eigen::Matrix3d K;
    const Eigen::Matrix4d T;
    const ImageView view{};
    float value = 0;
    engine.update_image(0, nullptr, 0);
    engine.update_image(0, nullptr, 0, time);
    engine.update_image(0, view);
    engine.update_image(0, view, time);
    engine.update_depth(0, nullptr, 0);
    engine.update_depth(0, nullptr, 0, time);
    engine.update_intrinsics(0, K);
    engine.update_intrinsics(0, K, time);
    engine.update_extrinsics(0, T);
    engine.update_extrinsics(0, T, time);
    engine.update_proprio(0, &value, 1);
    engine.update_proprio(0, &value, 1, time);
    engine.update_proprio_as<double>(0, {});
    engine.update_proprio_bytes(0, {});
    engine.update_slot(0, &value, 4);
    engine.update_slot(0, &value, 4, time);
    engine.begin_frame(0);
    engine.revoke_writer(0, Field::image);
    engine.revoke_camera_writer(0);
    engine.revoke_slot_writer(0);
    engine.revoke_proprio_writer(0);
    engine.make_reader();
    engine.wait_frame(0, 0, time);
    engine.wait_frames({}, time);
    engine.wait({}, 0, time);
    engine.wait_any({}, time);
    engine.latest_proprio(0, {&value, 1});
    engine.proprio_at(0, time, {&value, 1});
    frame.commit();
    frame.commit(time);
    frame.commit(time, time);
    reader.snapshot();
    slot.update(1);
    slot.update(1, time);
}
