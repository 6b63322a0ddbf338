// SPDX-License-Identifier: Apache-2.0
// What the package's command line has of the programs in tools/: the numbers, files and texts of a probe, and the pictures in a stream
// of JPEGs.
#include "held_server.hpp"
#include "observation.hpp"

#include "mjpeg_splitter.hpp"
#include "probe_report.hpp"
#include "save_observation.hpp"

#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace chiral::python {
namespace {

/// What one run of the probe learns. The last observation stays in the memory it was received in.
class ProbeRun {
public:
    ProbeRun(std::string uri, bool legacy) {
        result_.uri = std::move(uri);
        result_.legacy = legacy;
    }

    void connected(double seconds, const std::map<std::string, std::string>& metadata) {
        result_.connect_seconds = seconds;
        for (const auto& [key, text] : metadata) result_.metadata[key] = text;
    }
    void wanted(std::string words, double documented_bytes, double documented_seconds) {
        result_.want = std::move(words);
        result_.documented = {documented_bytes, documented_seconds};
    }
    // `seconds` and `bytes` since the first request, `actions` that were sent.
    void add(const ReceivedObservation& received, double round_trip, double seconds, std::uint64_t bytes,
             std::uint64_t actions) {
        last_ = received.observation;
        result_.statistics.add(*last_, round_trip);
        result_.seconds = seconds;
        result_.bytes = bytes;
        result_.actions = actions;
    }
    void failed(std::string error) { result_.error = std::move(error); }

    std::string json() {
        if (last_) result_.last = *last_;
        return tools::to_json(result_);
    }
    std::vector<std::filesystem::path> save(const std::filesystem::path& folder) const {
        if (!last_) throw nb::value_error("nothing to save: no observation came");
        try {
            return tools::save_observation(*last_, folder);
        } catch (const std::runtime_error& error) {  // names the file
            throw nb::value_error(error.what());
        }
    }

private:
    tools::ProbeResult result_;
    std::shared_ptr<const Observation> last_;
};

nb::list take(tools::MjpegSplitter& self, const nb::bytes& received) {
    nb::list pictures;
    std::span<const std::uint8_t> rest(static_cast<const std::uint8_t*>(received.data()), received.size());
    while (!rest.empty()) {
        rest = rest.subspan(self.take(rest));
        if (self.whole()) pictures.append(nb::bytes(self.picture().data(), self.picture().size()));
    }
    return pictures;
}

// Too long a text may be cut within a character.
nb::object printable(const std::string& text) {
    const std::string shown = tools::printable(text);
    return nb::steal(PyUnicode_DecodeUTF8(shown.data(), static_cast<Py_ssize_t>(shown.size()), "replace"));
}

}  // namespace

void bind_probe(nb::module_& module) {
    nb::class_<ProbeRun>(module, "ProbeRun")
        .def(nb::init<std::string, bool>(), nb::arg("uri"), nb::arg("legacy"))
        .def("connected", &ProbeRun::connected, nb::arg("seconds"), nb::arg("metadata"))
        .def("wanted", &ProbeRun::wanted, nb::arg("words"), nb::arg("documented_bytes"), nb::arg("documented_seconds"))
        .def("add", &ProbeRun::add, nb::arg("received"), nb::arg("round_trip"), nb::arg("seconds"), nb::arg("bytes"),
             nb::arg("actions"))
        .def("failed", &ProbeRun::failed, nb::arg("error"))
        .def("json", &ProbeRun::json)
        .def("save", &ProbeRun::save, nb::arg("folder"));
    module.def("printable", &printable, nb::arg("text"));
    nb::class_<tools::MjpegSplitter>(module, "MjpegSplitter")
        .def(nb::init<std::size_t>(), nb::arg("most"))
        .def("take", &take, nb::arg("received"))
        .def_prop_ro("unfinished", &tools::MjpegSplitter::unfinished);
}

}  // namespace chiral::python
