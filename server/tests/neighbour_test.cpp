// SPDX-License-Identifier: Apache-2.0
// A server is a guest in the robot's process: what its children inherit, which locale it has, and what its threads are called.
#include "access_support.hpp"
#include "raw_http.hpp"

#include <chiral/client.hpp>

#include <charconv>
#include <clocale>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>

#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

namespace chiral::test {
namespace {

using wire::RequestType;

#ifdef __linux__

// What a child process has open, as its /proc/self/fd tells: "socket:[1234]", "anon_inode:[eventpoll]", "/dev/null", ...
std::multiset<std::string> open_in_a_child() {
    std::multiset<std::string> open;
    std::FILE* const child = ::popen("for f in /proc/$$/fd/*; do readlink $f; done", "r");
    if (child == nullptr) throw std::runtime_error("no child");
    for (char line[512]; std::fgets(line, sizeof line, child) != nullptr;) open.insert(line);
    ::pclose(child);
    return open;
}
std::size_t sockets_and_loops(const std::multiset<std::string>& open) {
    return static_cast<std::size_t>(std::count_if(open.begin(), open.end(), [](const std::string& name) {
        return name.starts_with("socket:") || name.starts_with("anon_inode:");
    }));
}

TEST(Neighbour, AChildOfAHookInheritsNothingOfTheServerOrTheClient) {
    const std::size_t before = sockets_and_loops(open_in_a_child());
    TestAuthority authority;
    const CertificateFiles files = authority.issue();
    for (const bool tls : {false, true}) {
        SCOPED_TRACE(tls ? "TLS" : "plain");
        Watched<std::vector<std::multiset<std::string>>> seen;
        Served<HookedServer> served(
            one_small_camera(), {},
            [&](ServerOptions& options) {
                if (tls) with_tls(files)(options);
            },
            [&](HookedServer& server) {
                server.on_action = [&](const Action&) {
                    auto open = open_in_a_child();
                    seen.change([&](auto& all) { all.push_back(std::move(open)); });
                };
            });
        PolicyClient client(address(tls ? "wss" : "ws", served->port()), client_options(authority.ca_file()));
        client.connect();
        client.get_obs();
        client.apply_action(numbered_action(1));
        ASSERT_TRUE(seen.wait([](const auto& all) { return all.size() == 1; }));
        std::string names;
        const auto open = seen.get().at(0);
        for (const std::string& name : open) names += name;
        EXPECT_EQ(sockets_and_loops(open), before) << names;
    }
}

TEST(Neighbour, ItsThreadsHaveNames) {
    Served<HookedServer> served;
    RawClient client = served.connect();
    client.ask(RequestType::obs_request);
    const auto names = [] {
        std::set<std::string> found;
        for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
            std::ifstream file(task.path() / "comm");
            std::string name;
            if (std::getline(file, name)) found.insert(name);
        }
        return found;
    };
    for (const char* name :
         {"chiral-net", "chiral-log", "chiral-actions", "chiral-requests", "chiral-observer", "chiral-watchdog"})
        EXPECT_TRUE(eventually([&] { return names().contains(name); })) << name;
}

#endif

// ---- the locale ----

// Numbers have a decimal comma for C and C++, as in German, until the end of the scope. Debian's C.utf8 with one byte changed
// is such a locale, without that one has to be installed.
class DecimalComma {
public:
    DecimalComma() {
        std::ifstream original("/usr/lib/locale/C.utf8/LC_NUMERIC", std::ios::binary);
        std::string bytes{std::istreambuf_iterator<char>(original), std::istreambuf_iterator<char>()};
        const std::size_t point = bytes.find(std::string(".\0", 2), 8 + 6 * 4);  // behind the head and six offsets
        if (point == std::string::npos) throw std::runtime_error("C.utf8 is not as expected");
        bytes[point] = ',';
        std::filesystem::create_directory(folder_.file("comma"));
        std::ofstream(folder_.file("comma") + "/LC_NUMERIC", std::ios::binary) << bytes;
        ::setenv("LOCPATH", folder_.file("").c_str(), 1);
        const bool set = std::setlocale(LC_NUMERIC, "comma") != nullptr;
        ::unsetenv("LOCPATH");
        if (!set) throw std::runtime_error("the locale cannot be set");
        std::locale::global(
            std::locale(std::locale::classic(), new Comma));  // which sets C's, too, only where it has a name
    }
    ~DecimalComma() {
        std::locale::global(std::locale::classic());
        std::setlocale(LC_NUMERIC, "C");
    }

private:
    struct Comma : std::numpunct<char> {
        char do_decimal_point() const override { return ','; }
        char do_thousands_sep() const override { return '.'; }
        std::string do_grouping() const override { return "\3"; }
    };
    TemporaryFolder folder_;
};

TEST(Neighbour, FiguresAndReasonsHaveADecimalPointInEveryLocale) {
    const DecimalComma comma;
    char text[8];
    std::snprintf(text, sizeof text, "%.1f", 1.5);
    ASSERT_STREQ(text, "1,5") << "the control";

    Served<HookedServer> served(one_small_camera(), {}, [](ServerOptions& options) {
        options.gate.dimension = 7;
        options.gate.lower.assign(7, -1.25);
        options.gate.upper.assign(7, 1.25);
    });
    RawClient client = served.connect();
    client.send(numbered_action(1.5f));
    ASSERT_TRUE(eventually([&] { return served->stats().actions_rejected == 1; }));
    const Observation obs = client.ask(RequestType::obs_request).result.obs;
    const std::string reason = std::get<std::string>(obs.extra.at("chiral.action_reason"));
    EXPECT_NE(reason.find("1.5"), std::string::npos) << reason;
    EXPECT_NE(reason.find("1.25"), std::string::npos) << reason;
    std::string figures;  // an answer is counted when its last byte has been written: maybe after it was read
    ASSERT_TRUE(eventually([&] {
        figures = get(served->port(), "/metrics").body;
        return figures.find("chiral_answer_latency_seconds_count 1\n") != std::string::npos;
    })) << figures;
    EXPECT_NE(figures.find("le=\"0.001\""), std::string::npos) << figures;
    const std::string name = "\nchiral_answer_latency_seconds_sum ";
    const std::size_t sum_at = figures.find(name);
    ASSERT_NE(sum_at, std::string::npos) << figures;
    const std::string sum = figures.substr(sum_at + name.size(), figures.find('\n', sum_at + 1) - sum_at - name.size());
    double seconds = 0;  // 0.00012 or 7.4e-05
    const auto [rest, error] = std::from_chars(sum.data(), sum.data() + sum.size(), seconds);
    EXPECT_TRUE(error == std::errc() && rest == sum.data() + sum.size() && seconds > 0) << sum;
    for (std::size_t at = 0; at < figures.size();) {
        const std::size_t end = figures.find('\n', at);
        const std::string line = figures.substr(at, end - at);
        at = end + 1;
        if (line[0] == '#') continue;
        EXPECT_EQ(line.find(',', line.rfind(' ')), std::string::npos) << line;
    }
}

}  // namespace
}  // namespace chiral::test
