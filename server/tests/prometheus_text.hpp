// SPDX-License-Identifier: Apache-2.0
// Reads Prometheus' text format 0.0.4 (https://prometheus.io/docs/instrumenting/exposition_formats/), strictly.
#pragma once

#include "raw_http.hpp"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <map>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>

namespace chiral::test {

class Metrics {
public:
    using Labels = std::map<std::string, std::string>;

    /// Throws std::runtime_error that names the line for what is not in that format.
    explicit Metrics(const std::string& text) {
        if (text.empty() || text.back() != '\n') throw std::runtime_error("the last line does not end");
        std::istringstream lines(text);
        for (std::string line; std::getline(lines, line);) {
            line_ = line;
            if (line.empty()) continue;
            line[0] == '#' ? comment(line) : sample(line);
        }
        for (const auto& [name, type] : types_)
            if (type == "histogram") check_histogram(name);
    }

    double operator()(const std::string& name, const Labels& labels = {}) const {
        const auto found = samples_.find({name, labels});
        if (found == samples_.end()) throw std::runtime_error("there is no sample of " + name);
        return found->second;
    }
    double source(const std::string& name, const std::string& kind, const std::string& source) const {
        return (*this)("chiral_" + name, {{"kind", kind}, {"source", source}});
    }
    /// The one status that is 1.
    std::string status(const std::string& kind, const std::string& source) const {
        std::string status;
        for (const auto& [key, value] : samples_) {
            const Labels& labels = key.second;
            if (key.first != "chiral_source_status" || labels.at("kind") != kind || labels.at("source") != source) continue;
            if (value != 0 && value != 1) throw std::runtime_error("a status is neither 0 nor 1");
            if (value == 1) status += labels.at("status");
        }
        return status;
    }
    const std::string& type_of(const std::string& name) const { return types_.at(name); }

private:
    [[noreturn]] void fail(const std::string& what) const { throw std::runtime_error(what + ": " + line_); }

    static bool is_name(const std::string& name, bool colons) {
        if (name.empty() || std::isdigit(static_cast<unsigned char>(name[0]))) return false;
        const auto allowed = [&](unsigned char c) { return std::isalnum(c) || c == '_' || (colons && c == ':'); };
        return std::all_of(name.begin(), name.end(), allowed);
    }

    void comment(const std::string& line) {
        std::istringstream words(line);
        std::string hash, what, name, rest;
        words >> hash >> what >> name;
        std::getline(words, rest);
        if (!is_name(name, true) || rest.size() < 2) fail("a comment that says nothing");
        if (what == "HELP") {
            if (!helps_.insert(name).second) fail("a second HELP");
        } else if (what == "TYPE") {
            static const std::set<std::string> known{"counter", "gauge", "histogram"};
            if (!helps_.contains(name)) fail("a TYPE without HELP");
            if (!known.contains(rest.substr(1))) fail("an unknown type");
            if (!types_.emplace(name, rest.substr(1)).second) fail("a second TYPE");
            current_ = name;
        } else {
            fail("neither HELP nor TYPE");
        }
    }

    void sample(const std::string& line) {
        std::size_t at = line.find_first_of("{ ");
        if (at == std::string::npos) fail("a sample without value");
        const std::string name = line.substr(0, at);
        if (!is_name(name, true)) fail("a name that is none");
        Labels labels;
        if (line[at] == '{') {
            for (++at; at < line.size() && line[at] != '}';) {
                const std::size_t equals = line.find("=\"", at);
                if (equals == std::string::npos) fail("a label without value");
                const std::string key = line.substr(at, equals - at);
                if (!is_name(key, false)) fail("a label whose name is none");
                std::string value;
                for (at = equals + 2; at < line.size() && line[at] != '"'; ++at) {
                    if (line[at] != '\\') {
                        value += line[at];
                        continue;
                    }
                    if (++at == line.size()) fail("a label that ends in a backslash");
                    if (line[at] == 'n') value += '\n';
                    else if (line[at] == '\\' || line[at] == '"') value += line[at];
                    else fail("an escape that is none");
                }
                if (++at >= line.size()) fail("a label that does not end");
                if (!labels.emplace(key, value).second) fail("a label twice");
                if (line[at] == ',') ++at;
                else if (line[at] != '}') fail("labels that are not separated");
            }
            ++at;
        }
        if (at >= line.size() || line[at] != ' ') fail("no value");
        const std::string number = line.substr(at + 1);
        std::size_t end = 0;
        const double value = std::stod(number, &end);
        if (end != number.size()) fail("a value that is no number");
        if (current_.empty()) fail("a sample before the first TYPE");
        const std::string suffix = name.starts_with(current_) ? name.substr(current_.size()) : "another name";
        const bool histogram = types_[current_] == "histogram";
        if (histogram ? suffix != "_bucket" && suffix != "_sum" && suffix != "_count" : !suffix.empty())
            fail("a sample that does not stand behind its TYPE");
        if (!samples_.emplace(std::pair{name, labels}, value).second) fail("a sample twice");
        if (types_[current_] == "counter" && !(value >= 0)) fail("a counter below zero");
    }

    void check_histogram(const std::string& name) const {
        line_ = name;
        std::map<double, double> buckets;
        for (const auto& [key, value] : samples_)
            if (key.first == name + "_bucket") buckets.emplace(std::stod(key.second.at("le")), value);
        if (buckets.size() < 2 || !std::isinf(buckets.rbegin()->first)) fail("a histogram without +Inf");
        double before = 0;
        for (const auto& [bound, value] : buckets) {
            if (value < before) fail("buckets that do not add up");
            before = value;
        }
        if (before != (*this)(name + "_count")) fail("+Inf is not _count");
        if ((*this)(name + "_sum") < 0) fail("a sum below zero");
    }

    mutable std::string line_;
    std::string current_;
    std::set<std::string> helps_;
    std::map<std::string, std::string> types_;
    std::map<std::pair<std::string, Labels>, double> samples_;
};

/// Of a server that is asked now.
inline Metrics metrics(int port) {
    const RawClient::HttpAnswer answer = get(port, "/metrics");
    if (answer.status != 200) throw std::runtime_error("no metrics: " + answer.head + answer.body);
    return Metrics(answer.body);
}

}  // namespace chiral::test
