// SPDX-License-Identifier: Apache-2.0
// Addresses: what is accepted and taken apart, and what is refused before it can reach the handshake.
#include "net/uri.hpp"

#include <chiral/client.hpp>

#include <gtest/gtest.h>

#include <array>
#include <ostream>

namespace chiral {
namespace {

struct Good {
    const char* text;
    const char* host;
    const char* port;
    const char* authority;
    const char* target;
    bool secure{false};
};

TEST(Uri, IsTakenApart) {
    for (const Good& good : {
             Good{"ws://localhost:8765", "localhost", "8765", "localhost:8765", "/"},
             Good{"ws://robot", "robot", "80", "robot", "/"},
             Good{"ws://10.0.0.7:1", "10.0.0.7", "1", "10.0.0.7:1", "/"},
             Good{"ws://robot-3.lab_net:65535/", "robot-3.lab_net", "65535", "robot-3.lab_net:65535", "/"},
             Good{"ws://robot:80/a/b%20c?x=1&y=[2]", "robot", "80", "robot:80", "/a/b%20c?x=1&y=[2]"},
             Good{"ws://robot?x=1", "robot", "80", "robot", "/?x=1"},
             Good{"ws://[::1]:8765", "::1", "8765", "[::1]:8765", "/"},
             Good{"ws://[fe80::1%eth0]", "fe80::1%eth0", "80", "[fe80::1%eth0]", "/"},
             Good{"wss://robot", "robot", "443", "robot", "/", true},
             Good{"wss://[::1]:8765/observe", "::1", "8765", "[::1]:8765", "/observe", true},
         }) {
        SCOPED_TRACE(good.text);
        const net::Uri uri = net::parse_uri(good.text);
        EXPECT_EQ(uri.text, good.text);
        EXPECT_EQ(uri.host, good.host);
        EXPECT_EQ(uri.port, good.port);
        EXPECT_EQ(uri.authority, good.authority);
        EXPECT_EQ(uri.target, good.target);
        EXPECT_EQ(uri.secure, good.secure);
    }
}

TEST(Uri, IsRefusedWithWhatIsWrongAndWhatWasExpected) {
    struct Bad {
        std::string text;
        const char* problem;
    };
    for (const Bad& bad : {
             Bad{"", "scheme is not ws"},
             Bad{"robot:8765", "scheme is not ws"},
             Bad{"wsss://robot", "scheme is not ws or wss"},
             Bad{"wss://", "no host"},
             Bad{"http://robot", "scheme is not ws"},
             Bad{"foo://robot", "unix:///PATH or zenoh://"},
             Bad{"ws://", "no host"},
             Bad{"ws://:8765", "no host"},
             Bad{"ws:///path", "no host"},
             Bad{"ws://[]:1", "no host"},
             Bad{"ws://robot:", "port is ''"},
             Bad{"ws://robot:0", "port is '0'"},
             Bad{"ws://robot:65536", "port is '65536'"},
             Bad{"ws://robot:+1", "port is '+1'"},
             Bad{"ws://robot:80x", "port is '80x'"},
             Bad{"ws://robot:99999999999999999999", "not a number from 1 to 65535"},
             Bad{"ws://robot:8\r\n\xb6", "port is '8\?\?\?'"},
             Bad{"ws://[::1", "bracket"},
             Bad{"ws://[::1]8765", "follows its host"},
             Bad{"ws://[robot!]", "not an IPv6 address"},
             Bad{"ws://user@robot", "not a name or address"},
             Bad{"ws://ro bot", "not a name or address"},
             Bad{"ws://robot\r\nEvil: 1", "not a name or address"},
             Bad{"ws://robot/a b", "path has a blank"},
             Bad{"ws://robot/\r\nEvil: 1", "path has a blank"},
             Bad{"ws://robot/#top", "fragment"},
             Bad{"ws://robot/\xc3\xa4", "not ASCII"},
             Bad{std::string("ws://robot/\0", 12), "path has a blank"},
         }) {
        try {
            net::parse_uri(bad.text);
            ADD_FAILURE() << "accepted: " << bad.text;
        } catch (const std::invalid_argument& error) {
            const std::string message = error.what();
            EXPECT_NE(message.find(bad.problem), std::string::npos) << message;
            EXPECT_NE(message.find("expected ws://HOST[:PORT][/PATH]"), std::string::npos) << message;
            EXPECT_EQ(message.find_first_of("\r\n"), std::string::npos);
        }
    }
}

TEST(Uri, ShowsNoTokenInMessages) {
    for (const char* text : {"ws://robot/?access_token=s3cret", "ws://robot/?x=1&access_token=s3cret&y=2",
                             "wss://robot?access_token=a&access_token=s3cret"}) {
        const net::Uri uri = net::parse_uri(text);
        EXPECT_EQ(uri.text.find("s3cret"), std::string::npos) << uri.text;
        EXPECT_NE(uri.target.find("s3cret"), std::string::npos) << "it is to be sent, though";
    }
    EXPECT_EQ(net::parse_uri("ws://robot/?x=1&access_token=s3cret&y=2").text, "ws://robot/?x=1&access_token=...&y=2");
    try {
        net::parse_uri("ws://ro bot/?access_token=s3cret");
        ADD_FAILURE();
    } catch (const std::invalid_argument& error) {
        EXPECT_EQ(std::string(error.what()).find("s3cret"), std::string::npos) << error.what();
    }
}

TEST(Uri, OfAClientIsCheckedWhenItConnects) {
    PolicyClient client("http://robot");
    EXPECT_THROW(client.connect(), std::invalid_argument);
}

}  // namespace
}  // namespace chiral
