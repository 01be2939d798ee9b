/*
 * Names of the words that the cross-talk layer uses, as they stand in logs, events and statistics.
 *
 * Any thread; no state.
 */
#include "xtalk/xtalk.h"

const char *binding_name(enum binding b)
{
	switch (b) {
	case BINDING_UPLINK:
		return "uplink";
	case BINDING_DIRECT:
		return "direct";
	case BINDING_MAPPED:
		return "mapped";
	}
	return "unknown";
}

const char *xtalk_why_name(enum xtalk_why why)
{
	switch (why) {
	case WHY_TRAFFIC:
		return "traffic";
	case WHY_STATIC:
		return "static";
	case WHY_PEER:
		return "peer";
	case WHY_SHARED:
		return "shared";
	case WHY_OUTSIDE:
		return "outside";
	case WHY_COMMAND:
		return "command";
	case WHY_TIMEOUT:
		return "timeout";
	case WHY_RESET:
		return "reset";
	case WHY_OTHERS:
		return "others";
	case WHY_SLOTS:
		return "slots";
	case WHY_DEADLINE:
		return "deadline";
	case WHY_FRAME:
		return "frame";
	}
	return "unknown";
}
