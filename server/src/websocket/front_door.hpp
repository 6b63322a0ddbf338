// SPDX-License-Identifier: Apache-2.0
// A new connection: TLS where it is configured, then one HTTP request. A WebSocket handshake makes it a Session; anything else
// is answered here, and the connection ends.
//
//     GET /          the live page, which shows what /observe brings
//     GET /healthz   "ok" while the server serves
//     GET /metrics   figures as Prometheus reads them
//     WebSocket /           control, if nobody else has it; ?takeover=1 replaces who does, where that is allowed
//     WebSocket /observe    observe only
//
// Everything that a request can be refused for is looked at before it takes anything from anybody.
//
// Thread rule: network thread.
#pragma once

#include "net/link.hpp"
#include "websocket/access.hpp"
#include "websocket/service.hpp"
#include "websocket/tls.hpp"
#include "websocket/tls_handshake.hpp"

#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>

#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace chiral::websocket {

class FrontDoor final : public Connection, public std::enable_shared_from_this<FrontDoor> {
public:
    /// `tls`: null for none; must outlive it.
    FrontDoor(net::Link::Socket socket, Service& core, Tls* tls);

    void start();
    void shut_down() override { finish("the server is stopping"); }
    void abort() override { finish("dropped"); }
    bool stranger() const override { return true; }

private:
    void on_handshake(TlsHandshake::Outcome outcome);
    void read_request();
    void on_request(boost::beast::error_code error);
    void upgrade(const AccessRequest& request);
    void get(const AccessRequest& request);
    void refuse(boost::beast::http::status status, const std::string& why, const std::string& text);
    void answer(boost::beast::http::status status, std::string_view content_type, std::string text);
    void answer_plain_http();
    void finish(const std::string& why);

    Service& core_;
    Tls* tls_;
    net::Link link_;
    std::string peer_;
    boost::beast::flat_buffer input_;
    std::optional<boost::beast::http::request_parser<boost::beast::http::empty_body>> request_;
    std::optional<boost::beast::http::response<boost::beast::http::string_body>> answer_;
    net::Link::Timer answer_by_;             // while another thread makes the answer
    std::weak_ptr<TlsHandshake> handshake_;  // while it lasts; it holds us
    bool finished_{false};
};

}  // namespace chiral::websocket
