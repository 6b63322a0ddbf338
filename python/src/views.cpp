// SPDX-License-Identifier: Apache-2.0
// Looks at a camera from Python, and frames that are filled in place.
#include "held_server.hpp"
#include "observation.hpp"

#include <nanobind/stl/optional.h>

#include <array>
#include <cstring>
#include <vector>

namespace chiral::python {

std::shared_ptr<HeldServer> shared_server(nb::handle handle);

namespace {

std::vector<std::size_t> image_shape(const CameraConfig& camera) {
    std::vector<std::size_t> shape{static_cast<std::size_t>(camera.height), static_cast<std::size_t>(camera.width)};
    if (!camera.two_dimensional) shape.push_back(static_cast<std::size_t>(camera.channels));
    return shape;
}
nb::dlpack::dtype image_type(const CameraConfig& camera) { return dtype_named(to_string(camera.image_dtype)); }
nb::dlpack::dtype depth_type(const CameraConfig& camera) { return dtype_named(to_string(camera.depth_dtype)); }
std::array<std::size_t, 2> depth_shape(const CameraConfig& camera) {
    return {static_cast<std::size_t>(camera.height), static_cast<std::size_t>(camera.width)};
}

/// One coherent look at a camera, with its depth map or without: pinned slots while a reader is free, a copy when none is. Arrays
/// keep it alive.
class View {
public:
    View(const std::shared_ptr<HeldServer>& server, std::size_t camera, bool with_depth)
        : camera_(camera), with_depth_(with_depth), pin_(std::make_unique<Pin>(server, camera, with_depth)) {
        if (!pin_->snapshot) server->look([this](const Snapshot& snapshot) { copy(snapshot.camera(camera_)); });
    }

    const CameraConfig& config() const { return pin_->server->engine().cameras().at(camera_); }
    const std::uint8_t* image() const { return pinned() ? shown().image().data() : image_.data(); }
    std::size_t image_bytes() const { return pinned() ? shown().image().size() : image_.size(); }
    const std::uint8_t* depth() const {
        if (!with_depth_) throw nb::value_error("a view without depth was asked for it");
        return pinned() ? shown().depth_bytes().data() : depth_.data();
    }
    const double* intrinsics() const { return pinned() ? shown().intrinsics().data() : K_.data(); }
    const double* extrinsics() const { return pinned() ? shown().extrinsics().data() : T_.data(); }
    Stamp stamp() const { return pinned() ? shown().stamp(Field::image) : stamp_; }
    bool pinned() const noexcept { return pin_->snapshot.has_value(); }

private:
    struct Pin {
        Pin(std::shared_ptr<HeldServer> of, std::size_t camera, bool with_depth)
            : server(std::move(of)), reader(server->take_reader(camera, with_depth)) {
            if (reader) snapshot.emplace(reader->snapshot());
        }
        Pin(const Pin&) = delete;
        ~Pin() {
            snapshot.reset();
            if (reader) server->give_back(reader);
        }

        std::shared_ptr<HeldServer> server;
        Reader* reader;
        std::optional<Snapshot> snapshot;
    };

    CameraView shown() const { return pin_->snapshot->camera(camera_); }
    void copy(const CameraView& camera) {
        image_.assign(camera.image().begin(), camera.image().end());
        if (with_depth_) depth_.assign(camera.depth_bytes().begin(), camera.depth_bytes().end());
        std::copy(camera.intrinsics().begin(), camera.intrinsics().end(), K_.begin());
        std::copy(camera.extrinsics().begin(), camera.extrinsics().end(), T_.begin());
        stamp_ = camera.stamp(Field::image);
    }

    std::size_t camera_;
    bool with_depth_;
    OfThisProcess<Pin> pin_;
    std::vector<std::uint8_t> image_;
    std::vector<std::uint8_t> depth_;
    std::array<double, 9> K_{};
    std::array<double, 16> T_{};
    Stamp stamp_;
};

/// A frame transaction with the turns of its fields.
class FrameHandle {
public:
    FrameHandle(std::shared_ptr<HeldServer> server, std::size_t camera)
        : server_(std::move(server)),
          camera_(camera),
          frame_(std::unique_ptr<Frame>(new Frame(server_->begin_frame(camera)))) {
        require(frame_->status());
    }
    FrameHandle(const FrameHandle&) = delete;

    nb::object image(nb::handle self) {
        if (config().encoding != FrameEncoding::raw)
            throw nb::value_error(
                ("camera '" + config().name + "' delivers encoded images: update_image() takes their bytes").c_str());
        take_turn(Field::image);
        const auto pixels = frame_->image();
        require(frame_->status());
        return array_view(pixels.data(), image_type(config()), image_shape(config()), self, true);
    }
    nb::object depth(nb::handle self) {
        take_turn(Field::depth);
        const auto depth = frame_->depth_bytes();
        require(frame_->status());
        return array_view(depth.data(), depth_type(config()), depth_shape(config()), self, true);
    }
    void set_intrinsics(nb::handle K) {
        take_turn(Field::intrinsics);
        require(frame_->set_intrinsics(to_matrix<3>(K)));
    }
    void set_extrinsics(nb::handle T) {
        take_turn(Field::extrinsics);
        require(frame_->set_extrinsics(to_matrix<4>(T)));
    }
    std::uint64_t commit(std::optional<double> captured) {
        const Status status =
            captured ? frame_->commit(
                           TimePoint(std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(*captured))))
                     : frame_->commit();
        end_turns();
        require(status);
        return status.sequence();
    }
    void abandon() {
        frame_->abandon();
        end_turns();
    }

private:
    const CameraConfig& config() const { return server_->engine().cameras().at(camera_); }
    void take_turn(Field field) {
        auto& turn = turns_[static_cast<std::size_t>(field)];
        if (!turn) turn.emplace(server_->turn(camera_, field));
    }
    void end_turns() {
        for (auto& turn : turns_) turn.reset();
    }

    std::shared_ptr<HeldServer> server_;
    std::size_t camera_;
    std::array<std::optional<HeldServer::Turn>, 4> turns_;  // given back after the frame has ended
    OfThisProcess<Frame> frame_;
};

}  // namespace

void bind_views(nb::module_& module) {
    nb::class_<View>(module, "View")
        .def(
            "__init__",
            [](View* self, nb::handle server, std::size_t camera, bool with_depth) {
                new (self) View(shared_server(server), camera, with_depth);
            },
            nb::arg("server"), nb::arg("camera"), nb::arg("with_depth"))
        .def("image",
             [](nb::handle self) {
                 const View& view = nb::cast<const View&>(self);
                 const CameraConfig& config = view.config();
                 const std::vector<std::size_t> shape =
                     config.encoding == FrameEncoding::raw ? image_shape(config) : std::vector{view.image_bytes()};
                 return array_view(view.image(), image_type(config), shape, self, false);
             })
        .def("depth",
             [](nb::handle self) {
                 const View& view = nb::cast<const View&>(self);
                 return array_view(view.depth(), depth_type(view.config()), depth_shape(view.config()), self, false);
             })
        .def("intrinsics",
             [](const View& view) {
                 return array_copy(view.intrinsics(), nb::dtype<double>(), std::array<std::size_t, 2>{3, 3});
             })
        .def("extrinsics",
             [](const View& view) {
                 return array_copy(view.extrinsics(), nb::dtype<double>(), std::array<std::size_t, 2>{4, 4});
             })
        .def_prop_ro("captured",
                     [](const View& view) { return view.stamp().sequence > 0 ? to_seconds(view.stamp().captured) : 0.0; })
        .def_prop_ro("pinned", &View::pinned);
    nb::class_<FrameHandle>(module, "Frame")
        .def(
            "__init__",
            [](FrameHandle* self, nb::handle server, std::size_t camera) {
                new (self) FrameHandle(shared_server(server), camera);
            },
            nb::arg("server"), nb::arg("camera"))
        .def("image", [](nb::handle self) { return nb::cast<FrameHandle&>(self).image(self); })
        .def("depth", [](nb::handle self) { return nb::cast<FrameHandle&>(self).depth(self); })
        .def("set_intrinsics", &FrameHandle::set_intrinsics, nb::arg("K"))
        .def("set_extrinsics", &FrameHandle::set_extrinsics, nb::arg("T"))
        .def("commit", &FrameHandle::commit, nb::arg("captured").none())
        .def("abandon", &FrameHandle::abandon);
}

}  // namespace chiral::python
