// loader._core: the data plane (cpp/server) for the control plane. Converts values and lets go of
// the GIL around every call that may wait for a shard; decides nothing.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <variant>

#include "loader/errors.h"
#include "server/server.h"
#include "session/table.h"

namespace py = pybind11;

namespace {

using namespace loader::server;
using NoGil = py::call_guard<py::gil_scoped_release>;

// ---- options: a dict whose keys must all be known

class Reader {
 public:
  explicit Reader(const py::dict& options) {
    for (const auto& [key, value] : options) values_[key] = value;
  }

  template <class T>
  void read(const char* key, T& out) {
    if (!values_.contains(key)) return;
    py::object value = values_[key];
    values_.attr("pop")(key);
    if (value.is_none()) return;
    try {
      out = value.cast<T>();
    } catch (const py::cast_error&) {
      throw py::value_error(std::string(key) + " is " + py::repr(value).cast<std::string>() +
                            ", which is of the wrong type");
    }
  }
  void read_seconds(const char* key, int64_t& out_ms) {
    double seconds = static_cast<double>(out_ms) / 1e3;
    read(key, seconds);
    out_ms = static_cast<int64_t>(seconds * 1e3);
  }
  void finish() const {
    if (values_.empty()) return;
    throw py::value_error("unknown option " + py::repr(values_).cast<std::string>());
  }

 private:
  py::dict values_;
};

ServerOptions server_options(const py::dict& given) {
  ServerOptions options;
  Reader in(given);
  in.read("shards", options.shards);
  in.read("busy_poll_us", options.busy_poll_us);
  in.read("arena_bytes", options.arena_bytes);
  in.read("inline_payload_bytes", options.inline_payload_bytes);
  in.read("admin_timeout_ms", options.admin_timeout_ms);
  in.read("exec_response_bytes", options.exec_response_bytes);
  auto& grpc = options.grpc;
  in.read("max_message_bytes", grpc.max_message_bytes);
  in.read("stream_window_bytes", grpc.stream_window_bytes);
  in.read("send_window_bytes", grpc.send_window_bytes);
  in.read("connection_window_bytes", grpc.connection_window_bytes);
  in.read("max_connections", grpc.max_connections);
  in.read("max_connections_per_address", grpc.max_connections_per_address);
  in.read("max_concurrent_streams", grpc.max_concurrent_streams);
  in.read("max_header_bytes", grpc.max_header_bytes);
  in.read("max_deadline_ms", grpc.max_deadline_ms);
  in.read("keepalive_time_ms", grpc.keepalive_time_ms);
  in.read("keepalive_timeout_ms", grpc.keepalive_timeout_ms);
  in.read("min_ping_interval_ms", grpc.min_ping_interval_ms);
  in.read("max_connection_age_ms", grpc.max_connection_age_ms);
  in.read("max_connection_age_grace_ms", grpc.max_connection_age_grace_ms);
  in.read("max_connection_idle_ms", grpc.max_connection_idle_ms);
  in.finish();
  return options;
}

AigesOptions aiges_options(const py::dict& given) {
  AigesOptions options;
  Reader in(given);
  in.read("address", options.address);
  in.read("header_pass", options.header_pass);
  in.read("session_ttl_ms", options.session_ttl_ms);
  in.finish();
  return options;
}

EngineOptions engine_options(const py::dict& given, EngineOptions options = {}) {
  Reader in(given);
  std::string isolation = options.isolation == Isolation::kInline ? "inline" : "process";
  in.read("slots", options.slots);
  in.read("threads", options.threads);
  in.read("admission_wait_ms", options.admission_wait_ms);
  in.read("queue_limit", options.queue_limit);
  in.read("call_timeout_ms", options.call_timeout_ms);
  in.read("create_timeout_ms", options.create_timeout_ms);
  in.read("destroy_timeout_ms", options.destroy_timeout_ms);
  in.read("host_timeout_ms", options.host_timeout_ms);
  in.read("hang_grace_ms", options.hang_grace_ms);
  in.read_seconds("init_timeout_s", options.init_timeout_ms);
  in.read_seconds("idle_timeout_s", options.idle_timeout_ms);
  in.read("session_window_bytes", options.session_window_bytes);
  in.read("session_window_records", options.session_window_records);
  in.read("isolation", isolation);
  in.read("language", options.language);
  in.read("directory", options.directory);
  in.read("entry", options.entry);
  in.read("config_json", options.config_json);
  in.read("awaits_resources", options.awaits_resources);
  in.read("declaration_json", options.declaration_json);
  in.finish();
  if (isolation != "process" && isolation != "inline") {
    throw py::value_error("isolation is \"" + isolation + "\"; use process or inline");
  }
  options.isolation = isolation == "inline" ? Isolation::kInline : Isolation::kProcess;
  return options;
}

// Loaded key files: the errors of files stay apart from those of addresses.
struct Tls {
  std::shared_ptr<const loader::grpc::TlsContext> context;
};

Tls load_tls(const py::dict& given) {
  loader::grpc::TlsFiles files;
  Reader in(given);
  in.read("certificate", files.certificate);
  in.read("key", files.key);
  in.read("client_ca", files.client_ca);
  in.finish();
  return {loader::grpc::TlsContext::load(files)};
}

// ---- values out

py::object to_python(const EventValue& value) {
  return std::visit(
      [](const auto& v) -> py::object {
        using T = std::decay_t<decltype(v)>;
        if constexpr (std::is_same_v<T, Blob>) {
          return py::bytes(v.bytes);
        } else if constexpr (std::is_same_v<T, std::string>) {
          // Texts of engines and clients may be anything.
          PyObject* text =
              PyUnicode_DecodeUTF8(v.data(), static_cast<Py_ssize_t>(v.size()), "replace");
          return py::reinterpret_steal<py::object>(text);
        } else {
          return py::cast(v);
        }
      },
      value);
}

py::list take_events(Server& server) {
  std::vector<Event> events;
  {
    py::gil_scoped_release release;
    events = server.take_events();
  }
  py::list out;
  for (const Event& event : events) {
    py::dict one;
    one["kind"] = event.kind;
    for (const auto& [key, value] : event.fields) one[py::str(key)] = to_python(value);
    out.append(std::move(one));
  }
  return out;
}

template <class Value>
py::dict to_dict(const std::vector<std::pair<std::string, Value>>& pairs) {
  py::dict out;
  for (const auto& [key, value] : pairs) out[py::str(key)] = value;
  return out;
}

py::dict to_dict(const HistogramSnapshot& histogram) {
  py::dict out;
  out["bounds"] = histogram.bounds;
  out["buckets"] = histogram.buckets;
  out["sum"] = histogram.sum;
  return out;
}

py::dict to_dict(const EngineStatistics& engine) {
  py::dict out, histograms;
  for (const auto& [name, histogram] : engine.histograms) {
    histograms[py::str(name)] = to_dict(histogram);
  }
  out["engine_id"] = engine.engine;
  out["name"] = engine.name;
  out["version"] = engine.version;
  out["counters"] = to_dict(engine.counters);
  out["histograms"] = histograms;
  out["closed"] = to_dict(engine.closed);
  return out;
}

py::dict to_dict(const InstanceStatistics& instance) {
  py::dict out;
  out["instance"] = instance.instance;
  out["engine_id"] = instance.engine_id;
  out["engine"] = instance.engine;
  out["version"] = instance.version;
  out["state"] = instance.state;
  out["index"] = instance.index;
  out["pid"] = instance.pid;
  out["slots"] = instance.slots;
  out["slots_used"] = instance.slots_used;
  out["channel_bytes_queued"] = instance.channel_bytes_queued;
  out["arena_bytes_used"] = instance.arena_bytes_used;
  out["arena_bytes"] = instance.arena_bytes;
  return out;
}

py::dict statistics(const Server& server) {
  Statistics taken;
  {
    py::gil_scoped_release release;
    taken = server.statistics();
  }
  py::list engines, instances;
  for (const EngineStatistics& engine : taken.engines) engines.append(to_dict(engine));
  for (const InstanceStatistics& instance : taken.instances) instances.append(to_dict(instance));
  py::dict out;
  out["counters"] = to_dict(taken.counters);
  out["refusals"] = to_dict(taken.refusals);
  out["engines"] = engines;
  out["instances"] = instances;
  return out;
}

py::dict to_dict(const SessionInfo& session) {
  py::dict out;
  out["session_id"] = session.session_id;
  out["engine"] = session.engine;
  out["version"] = session.version;
  out["state"] = session.state;
  out["peer"] = session.peer;
  out["frames_in"] = session.frames_in;
  out["bytes_in"] = session.bytes_in;
  out["frames_out"] = session.frames_out;
  out["bytes_out"] = session.bytes_out;
  out["queue_s"] = session.queue_s;
  out["first_result_s"] = session.first_result_s;
  out["duration_s"] = session.duration_s;
  return out;
}

py::list sessions(const Server& server, const std::string& engine) {
  std::vector<SessionInfo> taken;
  {
    py::gil_scoped_release release;
    taken = server.sessions(engine);
  }
  py::list out;
  for (const SessionInfo& session : taken) out.append(to_dict(session));
  return out;
}

py::dict prepare(Server& server, uint32_t engine, uint32_t index) {
  InstanceSeed seed;
  {
    py::gil_scoped_release release;
    seed = server.prepare_instance(engine, index);
  }
  py::dict out;
  out["instance"] = seed.instance;
  out["fds"] = seed.fds;
  out["arguments"] = seed.arguments;
  return out;
}

// (payload, None) answers; (None, (code, message, engine_code, engine_message)) refuses;
// (None, None) ends a stream.
void answer_admin(Server& server, uint64_t call, const py::object& payload,
                  const py::object& error) {
  if (!payload.is_none()) {
    auto bytes = payload.cast<std::string>();
    py::gil_scoped_release release;
    return server.answer_admin(call, std::move(bytes));
  }
  ErrorReport report;
  if (!error.is_none()) {
    auto [code, message, engine_code, engine_message] =
        error.cast<std::tuple<uint32_t, std::string, int32_t, std::string>>();
    report = {static_cast<loader::ErrorCode>(code), message, engine_code, engine_message};
  }
  py::gil_scoped_release release;
  server.refuse_admin(call, report);
}

std::vector<std::pair<std::string, std::string>> pairs(const py::dict& given) {
  std::vector<std::pair<std::string, std::string>> out;
  for (const auto& [key, value] : given) {
    out.emplace_back(key.cast<std::string>(), value.cast<std::string>());
  }
  return out;
}

void load_resource(Server& server, uint64_t instance, uint64_t call, uint32_t id,
                   const std::string& key, const py::bytes& data, const py::dict& attributes) {
  const auto owned = pairs(attributes);
  Resource resource{key, std::string_view(data), {}};
  for (const auto& [name, value] : owned) resource.attributes.emplace_back(name, value);
  py::gil_scoped_release release;
  server.load_resource(instance, call, id, resource);
}

RouteTarget route_target(const py::dict& given) {
  RouteTarget out;
  Reader in(given);
  py::dict labels, capabilities;
  in.read("engine", out.engine);
  in.read("weight", out.weight);
  in.read("labels", labels);
  in.read("capabilities", capabilities);
  in.finish();
  out.labels = pairs(labels);
  out.capabilities = pairs(capabilities);
  return out;
}

void apply(Server& server, const py::dict& given) {
  Changes changes;
  Reader in(given);
  py::dict options, routes;
  in.read("options", options);
  in.read("routes", routes);
  in.read("hold", changes.hold);
  in.finish();
  for (const auto& [key, value] : options) {
    auto id = key.cast<uint32_t>();
    changes.options[id] = engine_options(value.cast<py::dict>(), server.engine_options(id));
  }
  for (const auto& [name, targets] : routes) {
    auto& route = changes.routes[name.cast<std::string>()];
    for (const auto& target : targets) route.push_back(route_target(target.cast<py::dict>()));
  }
  py::gil_scoped_release release;
  server.apply(std::move(changes));
}

// ---- tables

py::list session_table() {
  using namespace loader::session;
  py::list out;
  for_each_row([&](const Row& row) {
    py::list actions;
    for_each_action(row.cell.actions, [&](std::string_view name) { actions.append(name); });
    py::dict one;
    one["variant"] = name_of(row.variant);
    one["state"] = name_of(row.state);
    one["event"] = name_of(row.event);
    one["outcome"] = name_of(row.cell.outcome);
    one["next"] = name_of(row.cell.next);
    one["reason"] = reason_name(row.cell.reason);
    one["error"] = row.cell.error == loader::ErrorCode::kNone
                       ? std::string_view()
                       : loader::error_row(row.cell.error).name;
    one["actions"] = actions;
    out.append(std::move(one));
  });
  return out;
}

py::list error_table() {
  py::list out;
  for (const loader::ErrorRow& row : loader::kErrorTable) {
    py::dict one;
    one["code"] = static_cast<uint32_t>(row.code);
    one["name"] = row.name;
    one["grpc"] = row.grpc_name;
    one["http"] = row.http;
    one["actor"] = row.actor;
    one["retry"] = row.retry;
    one["text"] = row.text;
    out.append(std::move(one));
  }
  return out;
}

}  // namespace

PYBIND11_MODULE(_core, m) {
  m.attr("__version__") = LOADER_VERSION;
  m.def("session_table", &session_table);
  m.def("error_table", &error_table);
  py::class_<Tls>(m, "Tls").def(py::init(&load_tls), py::arg("files"));
  py::class_<Server>(m, "Server")
      .def(py::init([](const py::dict& options) {
             return std::make_unique<Server>(server_options(options));
           }),
           py::arg("options"))
      .def("start", &Server::start, NoGil())
      .def("stop", &Server::stop, NoGil())
      .def(
          "listen",
          [](Server& server, const std::string& address, const std::string& tag, const Tls* tls) {
            return server.listen(address, tag, tls == nullptr ? nullptr : tls->context);
          },
          py::arg("address"), py::arg("tag") = "public", py::arg("tls") = py::none(), NoGil())
      .def(
          "set_tls", [](Server& server, const Tls& tls) { server.set_tls(tls.context); }, NoGil())
      .def("set_aiges",
           [](Server& server, const py::dict& given) {
             const AigesOptions options = aiges_options(given);
             py::gil_scoped_release release;
             server.set_aiges(options);
           })
      .def("add_engine",
           [](Server& server, const std::string& name, const std::string& version,
              const py::dict& options) {
             EngineOptions parsed = engine_options(options);
             py::gil_scoped_release release;
             return server.add_engine(name, version, std::move(parsed));
           })
      .def("remove_engine", &Server::remove_engine, NoGil())
      .def("apply", &apply)
      .def("prepare_instance", &prepare)
      .def("attach_instance", &Server::attach_instance, NoGil())
      .def("abandon_instance", &Server::abandon_instance, NoGil())
      .def("start_inline", &Server::start_inline, NoGil())
      .def("stop_instance", &Server::stop_instance, py::arg("instance"), py::arg("timeout_s"),
           py::arg("reason") = "drain", NoGil())
      .def("kill_instance", &Server::kill_instance, NoGil())
      .def("update_instance", &Server::update_instance, NoGil())
      .def("open_instance", &Server::open_instance, NoGil())
      .def("load_resource", &load_resource)
      .def("unload_resource", &Server::unload_resource, NoGil())
      .def("event_fd", &Server::event_fd)
      .def("take_events", &take_events)
      .def("answer_admin", &answer_admin)
      .def("set_serving", &Server::set_serving, NoGil())
      .def("drain", &Server::drain, py::arg("timeout_s"), py::arg("stay") = false, NoGil())
      .def("undrain", &Server::undrain, NoGil())
      .def("close_now", &Server::close_now, NoGil())
      .def("statistics", &statistics)
      .def("sessions", &sessions, py::arg("engine") = "")
      .def("kill_session", &Server::kill_session, py::arg("session_id"), py::arg("message") = "",
           NoGil());
}
