// SPDX-License-Identifier: Apache-2.0
#include "command_line.hpp"

#include <chiral/version.hpp>

#include <CLI/CLI.hpp>

#include <algorithm>
#include <cstdio>
#include <limits>
#include <numeric>

#include <fcntl.h>
#include <unistd.h>

namespace chiral::tools {
namespace {

// Insertions, removals, replacements and swaps of neighbours that make one word the other (optimal string alignment).
std::size_t distance(std::string_view a, std::string_view b) {
    std::vector<std::size_t> before(b.size() + 1), above(b.size() + 1), row(b.size() + 1);
    std::iota(above.begin(), above.end(), std::size_t{0});
    for (std::size_t i = 1; i <= a.size(); ++i) {
        row[0] = i;
        for (std::size_t j = 1; j <= b.size(); ++j) {
            row[j] = std::min({above[j] + 1, row[j - 1] + 1, above[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) row[j] = std::min(row[j], before[j - 2] + 1);
        }
        before.swap(above);
        above.swap(row);
    }
    return above[b.size()];
}

std::vector<std::string> option_names(const CLI::App& app) {
    std::vector<std::string> names;
    for (const CLI::Option* option : app.get_options())
        for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
    return names;
}

// Of standard input, output and error what was closed, lest a socket gets the number of one, and what is printed.
void take_standard_descriptors() {
    int number = STDIN_FILENO;
    while (number >= STDIN_FILENO && number <= STDERR_FILENO) number = ::open("/dev/null", O_RDWR);
    if (number > STDERR_FILENO) ::close(number);
}

std::string what_was_not_expected(const CLI::App& app) {
    std::string first = app.remaining().empty() ? "" : app.remaining().front();
    first = first.substr(0, first.find('='));
    return "'" + first + "' is not known" + did_you_mean(first, option_names(app));
}

}  // namespace

std::optional<int> parse_command_line(CLI::App& app, int argc, const char* const* argv) {
    take_standard_descriptors();
    app.set_version_flag("--version", app.get_name() + " " CHIRAL_VERSION, "Print the version and end");
    try {
        app.parse(argc, argv);
        return std::nullopt;
    } catch (const CLI::ExtrasError&) {
        return wrong_usage(app.get_name(), what_was_not_expected(app));
    } catch (const CLI::ParseError& error) {
        if (error.get_exit_code() == 0) return app.exit(error);  // --help and --version
        return wrong_usage(app.get_name(), error.what());
    }
}

int wrong_usage(std::string_view program, std::string_view message) {
    std::fprintf(stderr, "%.*s: %.*s\n%.*s --help shows what there is\n", static_cast<int>(program.size()), program.data(),
                 static_cast<int>(message.size()), message.data(), static_cast<int>(program.size()), program.data());
    return kUsage;
}

std::string did_you_mean(std::string_view given, const std::vector<std::string>& known) {
    const std::string* nearest = nullptr;
    std::size_t least = std::numeric_limits<std::size_t>::max();
    for (const std::string& word : known) {
        const std::size_t far = distance(given, word);
        if (far < least) {
            least = far;
            nearest = &word;
        }
    }
    // More than a third of the word is another word.
    if (!nearest || least > std::max<std::size_t>(1, given.size() / 3)) return "";
    return "; did you mean '" + *nearest + "'?";
}

}  // namespace chiral::tools
