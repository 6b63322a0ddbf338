// SPDX-License-Identifier: Apache-2.0
#include "store_server.hpp"

#include <utility>

namespace chiral::stress {
namespace {

ServerOptions server_options(const std::string& local_socket) {
    ServerOptions options;
    options.local_socket = local_socket;
    options.handle_signals = false;
    options.quiesce = {};
    options.log = [](const std::string&) {};
    return options;
}

double seconds(std::chrono::nanoseconds time) { return std::chrono::duration<double>(time).count(); }

}  // namespace

// The base class gets no sources: its engine stays empty, because the buffers are the store's.
StoreServer::StoreServer(SensorStore& store, std::vector<CameraConfig> cameras, std::vector<ProprioConfig> proprios,
                         const std::string& local_socket)
    : PolicyServer({}, {}, "127.0.0.1", 0, server_options(local_socket)),
      cameras_(std::move(cameras)),
      proprios_(std::move(proprios)),
      reader_(store.make_reader()) {}

Observation StoreServer::get_obs() {
    Observation obs;
    const Look& look = reader_->look();
    for (std::size_t i = 0; i < look.cameras.size(); ++i) {
        const CameraConfig& config = cameras_[i];
        const CameraLook& from = look.cameras[i];
        CameraInfo& to = obs.cameras.emplace_back();
        to.name = config.name;
        to.image.assign(from.image.begin(), from.image.end());
        to.image_shape = {config.height, config.width, config.channels};
        to.image_dtype = to_string(config.image_dtype);
        to.has_depth = config.has_depth;
        if (to.has_depth) {
            to.depth_data.assign(from.depth.begin(), from.depth.end());
            to.depth_shape = {config.height, config.width};
            to.depth_dtype = to_string(config.depth_dtype);
        }
        to.intrinsics = Eigen::Map<const Eigen::Matrix<double, 3, 3, Eigen::RowMajor>>(from.intrinsics.data());
        to.extrinsics = Eigen::Map<const Eigen::Matrix<double, 4, 4, Eigen::RowMajor>>(from.extrinsics.data());
        to.timestamp = seconds(from.captured[0]);
        to.sequence = from.sequence[0];
        to.status = SourceStatus::fresh;
    }
    for (std::size_t i = 0; i < look.proprios.size(); ++i) {
        const ProprioLook& from = look.proprios[i];
        ProprioInfo& to = obs.proprios.emplace_back();
        to.name = proprios_[i].name;
        to.data.assign(from.values.begin(), from.values.end());
        to.timestamp = seconds(from.captured);
        to.sequence = from.sequence;
        to.status = SourceStatus::fresh;
    }
    reader_->release();
    return obs;
}

}  // namespace chiral::stress
