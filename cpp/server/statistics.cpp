#include "server/statistics.h"

#include <algorithm>

namespace loader::server {
namespace {

using Counters = std::vector<std::pair<std::string, uint64_t>>;

void add(Counters& out, std::string_view name, uint64_t value) {
  auto found = std::find_if(out.begin(), out.end(), [&](auto& one) { return one.first == name; });
  if (found != out.end()) {
    found->second += value;
  } else {
    out.emplace_back(name, value);
  }
}

void add_grpc(Counters& out, const grpc::ServerStats& s) {
  add(out, "connections_open", s.open_connections);
  add(out, "streams_open", s.open_calls);
  add(out, "connections", s.connections);
  add(out, "connections_refused", s.connections_refused);
  add(out, "connections_misbehaved", s.connections_misbehaved);
  add(out, "calls", s.calls);
  add(out, "messages_received", s.messages_received);
  add(out, "messages_sent", s.messages_sent);
  add(out, "socket_bytes_received", s.bytes_received);
  add(out, "socket_bytes_sent", s.bytes_sent);
  add(out, "resets_received", s.resets_received);
  add(out, "resets_sent", s.resets_sent);
}

HistogramSnapshot& histogram_named(EngineStatistics& out, const std::string& name) {
  for (auto& [known, histogram] : out.histograms) {
    if (known == name) return histogram;
  }
  HistogramSnapshot fresh;
  for (size_t i = 0; i + 1 < session::Histogram::kBuckets; i++) {
    fresh.bounds.push_back(static_cast<double>(uint64_t{1} << i) / 1e6);
  }
  fresh.buckets.resize(session::Histogram::kBuckets);
  return out.histograms.emplace_back(name, std::move(fresh)).second;
}

void add(EngineStatistics& out, const char* name, const session::Histogram& histogram) {
  HistogramSnapshot& sum = histogram_named(out, name);
  for (size_t i = 0; i < session::Histogram::kBuckets; i++) sum.buckets[i] += histogram.buckets[i];
  sum.sum += static_cast<double>(histogram.sum_ns) / 1e9;
}

EngineStatistics read_engine(const EngineEntry& entry, const session::EngineCounters& c) {
  EngineStatistics engine;
  engine.engine = entry.shared->id;
  engine.name = entry.shared->name;
  engine.version = entry.shared->version;
  Counters& counters = engine.counters;
  add(counters, "sessions_opened", c.sessions_opened);
  add(counters, "execs", c.execs_started);
  add(counters, "sessions_open", c.open_sessions);
  add(counters, "frames_in", c.frames_in);
  add(counters, "bytes_in", c.bytes_in);
  add(counters, "frames_out", c.frames_out);
  add(counters, "bytes_out", c.bytes_out);
  add(counters, "queued_input_bytes", c.queued_input_bytes);
  add(counters, "queued_result_bytes", c.queued_result_bytes);
  add(counters, "events_ignored", c.events_ignored);
  add(counters, "events_refused", c.events_refused);
  add(counters, "calls_hung", c.calls_hung);
  add(counters, "unknown_fields", entry.unknown_fields);
  add(counters, "invalid_requests", entry.invalid_requests);
  add(engine, "queue_wait_seconds", c.queue_wait);
  add(engine, "first_result_seconds", c.first_result);
  add(engine, "call_latency_seconds", c.call);
  for (size_t reason = 0; reason < c.closed.size(); reason++) {
    if (reason != 0 || c.closed[reason] != 0) {
      add(engine.closed, session::reason_name(static_cast<uint32_t>(reason)), c.closed[reason]);
    }
  }
  return engine;
}

void add(Counters& sum, const Counters& part) {
  for (const auto& [name, value] : part) add(sum, name, value);
}

void add(EngineStatistics& sum, const EngineStatistics& part) {
  add(sum.counters, part.counters);
  add(sum.closed, part.closed);
  for (const auto& [name, histogram] : part.histograms) {
    HistogramSnapshot& total = histogram_named(sum, name);
    for (size_t i = 0; i < total.buckets.size(); i++) total.buckets[i] += histogram.buckets[i];
    total.sum += histogram.sum;
  }
}

void add(Statistics& sum, const Statistics& part) {
  add(sum.counters, part.counters);
  add(sum.refusals, part.refusals);
  for (EngineStatistics& known : sum.engines) {
    for (const EngineStatistics& engine : part.engines) {
      if (engine.engine == known.engine) add(known, engine);
    }
  }
  for (InstanceStatistics& known : sum.instances) {
    for (const InstanceStatistics& instance : part.instances) {
      if (instance.instance != known.instance) continue;
      known.channel_bytes_queued += instance.channel_bytes_queued;
      known.arena_bytes_used += instance.arena_bytes_used;
      known.arena_bytes += instance.arena_bytes;
    }
  }
}

double seconds(int64_t ns) {
  return static_cast<double>(ns) / 1e9;
}

}  // namespace

EngineStatistics engine_row(const EngineShared& engine) {
  EngineStatistics row;
  row.engine = engine.id;
  row.name = engine.name;
  row.version = engine.version;
  session::SlotPoolState pool = engine.pool->state();
  add(row.counters, "slots", pool.slots);
  add(row.counters, "slots_used", pool.used);
  add(row.counters, "queue_depth", pool.waiting);
  add(row.counters, "instances_ready", pool.instances);
  return row;
}

Statistics read_statistics(ShardContext& shard) {
  Statistics out;
  add_grpc(out.counters, shard.server().stats());
  add(out.counters, "loop_rounds", shard.loop().rounds());
  for (const auto& [error, count] : shard.refusals()) {
    add(out.refusals, error_row(error).name, count);
  }
  for (const auto& entry : shard.engines()) {
    const session::EngineCounters* counters = shard.core().counters(entry->shared->id);
    if (counters != nullptr) out.engines.push_back(read_engine(*entry, *counters));
  }
  for (const auto& [id, link] : shard.links()) {
    InstanceStatistics& instance = out.instances.emplace_back();
    instance.instance = id;
    instance.channel_bytes_queued = link->queued_bytes();
    instance.arena_bytes_used = link->arena_bytes_used();
    instance.arena_bytes = shard.plane().options.arena_bytes;
  }
  return out;
}

void ShardSums::add_to(Statistics& out, const Shards& shards) {
  newest_.resize(shards.size());
  auto answers = ask_shards(shards, read_statistics);
  uint64_t silent = 0;
  for (size_t i = 0; i < answers.size(); i++) {
    if (answers[i]) {
      newest_[i] = std::move(*answers[i]);
    } else {
      silent++;
    }
    add(out, newest_[i]);
  }
  add(out.counters, "shards_silent", silent);
}

void RetiredSums::add(const Statistics& part, uint32_t engine) {
  std::lock_guard lock(mutex_);
  for (const EngineStatistics& row : part.engines) {
    if (row.engine != engine) continue;
    EngineStatistics& sum = sums_[{row.name, row.version}];
    sum.name = row.name;
    sum.version = row.version;
    loader::server::add(sum, row);
  }
}

void RetiredSums::add_to(Statistics& out) const {
  std::lock_guard lock(mutex_);
  for (const auto& [key, sum] : sums_) out.engines.push_back(sum);
}

std::vector<SessionInfo> read_sessions(ShardContext& shard, const std::string& engine) {
  std::vector<SessionInfo> out;
  shard.core().for_each_session([&](const session::SessionInfo& info) {
    EngineEntry* entry = shard.find_engine(info.engine);
    if (!engine.empty() && (entry == nullptr || entry->shared->name != engine)) return;
    SessionInfo& one = out.emplace_back();
    one.session_id = shard.plane().session_id(info.id);
    if (entry != nullptr) one.engine = entry->shared->name, one.version = entry->shared->version;
    one.state = session::name_of(info.state);
    if (const auto* peer = dynamic_cast<const PeerSource*>(info.front)) {
      one.peer = peer->peer_address();
    }
    const session::SessionStatistics& s = info.statistics;
    one.frames_in = s.frames_in;
    one.bytes_in = s.bytes_in;
    one.frames_out = s.frames_out;
    one.bytes_out = s.bytes_out;
    one.queue_s = seconds(s.queue_ns);
    one.first_result_s = seconds(s.first_result_ns);
    one.duration_s = seconds(s.duration_ns);
  });
  return out;
}

}  // namespace loader::server
