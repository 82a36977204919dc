#include "server/aiges_contract.h"

#include <algorithm>

#include "loader/wrapper.h"
#include "server/wire.h"

namespace loader::server {
namespace {

constexpr uint32_t kOutputPayload = 5;
constexpr const char* kUnknownKey = "wrapper output data is nil ";
constexpr const char* kWrongType = "wrapper output data invalid(key or type)";

uint32_t data_type_of(uint32_t item_type) {
  switch (item_type) {
    case LOADER_ITEM_TEXT:
    case LOADER_ITEM_JSON:
      return 0;
    case LOADER_ITEM_AUDIO:
      return 1;
    case LOADER_ITEM_IMAGE:
      return 2;
    case LOADER_ITEM_VIDEO:
      return 3;
    default:
      return 4;
  }
}

void append_attribute(std::string& out, std::string_view key, std::string_view value) {
  const size_t size =
      2 + varint_size(key.size()) + key.size() + varint_size(value.size()) + value.size();
  out.append(FieldHead(3, size).bytes());
  append_bytes(out, 1, key);
  append_bytes(out, 2, value);
}

bool has_attribute(std::string_view encoded, std::string_view key) {
  WireReader in(encoded);
  while (in.next()) {
    WireReader entry(in.bytes());
    if (entry.next() && entry.bytes() == key) return true;
  }
  return false;
}

AigesStatus status_of(const frame::ItemView& item, bool is_once) {
  switch (item.status) {
    case LOADER_STATUS_UNSPECIFIED:
      return is_once ? AigesStatus::kOnce : AigesStatus::kContinue;
    case LOADER_STATUS_BEGIN:
      return AigesStatus::kBegin;
    case LOADER_STATUS_CONTINUE:
      return AigesStatus::kContinue;
    case LOADER_STATUS_END:
      return AigesStatus::kEnd;
    default:
      // A client that polls takes only END for the end.
      return is_once ? AigesStatus::kOnce : AigesStatus::kEnd;
  }
}

std::string_view text_of(frame::Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

void AigesPackage::close() {
  status = AigesStatus::kEnd;
  for (uint32_t at : unset_at) payloads[at] = '0' + static_cast<char>(AigesStatus::kEnd);
}

void AigesContract::set(const LoaderInput& input) {
  bytes_.clear();
  expected_.clear();
  for (const AigesMeta& meta : input.expect) {
    Expected& one = expected_.emplace_back();
    one.type = meta.data_type;
    one.name_begin = bytes_.size();
    one.name_size = meta.name.size();
    bytes_.append(meta.name);
    one.attributes_begin = bytes_.size();
    for (const TextPair& pair : input.attributes_of(meta)) {
      if (pair.first == "seq" || pair.first == "status") continue;
      append_attribute(bytes_, pair.first, pair.second);
    }
    one.attributes_size = bytes_.size() - one.attributes_begin;
  }
}

const AigesContract::Expected* AigesContract::find(std::string_view key) const {
  auto found = std::find_if(expected_.begin(), expected_.end(),
                            [&](const Expected& one) { return name_of(one) == key; });
  return found == expected_.end() ? nullptr : &*found;
}

uint32_t AigesContract::next_number(std::string_view key) {
  for (Count& count : counts_) {
    if (count.key == key) return ++count.last;
  }
  counts_.push_back({std::string(key), 1});
  return 1;
}

void AigesContract::append_meta(const frame::FrameView& result, const frame::ItemView& item,
                                const Expected* expected, uint32_t number, AigesStatus status) {
  meta_.clear();
  append_bytes(meta_, 1, item.key);
  // What the engine left untyped is what was asked for.
  const bool is_untyped = expected != nullptr && item.type == 0;
  const uint32_t type = is_untyped ? expected->type : data_type_of(item.type);
  if (type != 0) append_number(meta_, 2, type);
  const std::string_view ours = expected == nullptr ? std::string_view() : attributes_of(*expected);
  for (const frame::AttributeView& one : result.attributes_of(item)) {
    if (one.key == "seq" || one.key == "status" || has_attribute(ours, one.key)) continue;
    append_attribute(meta_, one.key, one.value);
  }
  meta_.append(ours);
  char digits[12];
  const int size = std::snprintf(digits, sizeof digits, "%u", number);
  append_attribute(meta_, "seq", {digits, static_cast<size_t>(size)});
  const char digit = '0' + static_cast<char>(status);
  append_attribute(meta_, "status", {&digit, 1});  // last: AigesPackage::close() finds its digit
}

const char* AigesContract::append(const frame::FrameView& result, bool is_once, AigesPackage& out) {
  for (const frame::ItemView& item : result.items) {
    const Expected* expected = find(item.key);
    if (!expected_.empty() && expected == nullptr) return kUnknownKey;
    if (expected != nullptr && item.type != 0 && expected->type != data_type_of(item.type)) {
      return kWrongType;
    }
    const AigesStatus status = status_of(item, is_once);
    append_meta(result, item, expected, is_once ? 0 : next_number(item.key), status);
    const std::string_view data = text_of(item.data);
    const FieldHead data_head(2, data.size());
    const size_t size =
        1 + varint_size(meta_.size()) + meta_.size() + data_head.bytes().size() + data.size();
    if (out.payloads.empty()) out.payloads.reserve(size + 16);
    out.payloads.append(FieldHead(kOutputPayload, size).bytes());
    append_bytes(out.payloads, 1, meta_);
    if (item.status == LOADER_STATUS_UNSPECIFIED && !is_once) {
      out.unset_at.push_back(static_cast<uint32_t>(out.payloads.size() - 1));
    }
    out.payloads.append(data_head.bytes()).append(data);
    if (!out.is_final()) out.status = status;
  }
  return nullptr;
}

}  // namespace loader::server
