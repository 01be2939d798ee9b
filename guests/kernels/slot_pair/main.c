/*
 * Exchanges numbered, hashed frames with a peer by a driver with stable slots: sender, sink, or
 * both at once; lib/traffic.h has the command line. Ends with
 *
 *   RESULT lost=0 doubled=0 reordered=0 corrupt=0 frames=N leak=0     (of what it received)
 */
#include "lib/traffic.h"

static struct traffic traffic;

void guest_main(void)
{
	traffic_setup(&traffic, NULL);
	traffic_run(&traffic);
	traffic_report(&traffic);
}
