/*
 * 82540EM: the EEPROM, a 64 word microwire part, by EERD (a word at once) and by EECD (its four
 * pins). Reading only; write commands are ignored, as by a part that is write-protected. Source:
 * chapter 5 of the manual; the serial protocol is that of the 93C46.
 *
 * Any thread; one lock.
 */
#include "nic/e1000_internal.h"

enum eeprom_word {
	WORD_MAC = 0,
	WORD_COMPAT = 3,
	WORD_LEDS = 4,
	WORD_INIT_CTRL1 = 0x0a,
	WORD_SUBSYSTEM = 0x0b,
	WORD_SUBSYSTEM_VENDOR = 0x0c,
	WORD_DEVICE = 0x0d,
	WORD_VENDOR = 0x0e,
	WORD_INIT_CTRL2 = 0x0f,
	WORD_CHECKSUM = 0x3f,
};
#define INIT_CTRL1_SIGNATURE 0x4000 /* bits 15:14: the content is valid */
#define INIT_CTRL1_LOAD_IDS  0x0003 /* vendor, device and subsystem from here */
#define INIT_CTRL2_PAUSE     0x3000
#define LEDS_DEFAULT	     0xffff

int e1000_eeprom_init(struct e1000 *e, const uint8_t mac[ETH_ADDR_BYTES])
{
	uint16_t *word = e->eeprom.word, sum = 0;

	for (unsigned i = 0; i < ETH_ADDR_BYTES / 2; i++)
		word[WORD_MAC + i] = (uint16_t)(mac[2 * i] | mac[2 * i + 1] << 8);
	word[WORD_LEDS] = LEDS_DEFAULT;
	word[WORD_INIT_CTRL1] = INIT_CTRL1_SIGNATURE | INIT_CTRL1_LOAD_IDS;
	word[WORD_SUBSYSTEM] = E1000_SUBSYSTEM;
	word[WORD_SUBSYSTEM_VENDOR] = E1000_VENDOR_ID;
	word[WORD_DEVICE] = E1000_DEVICE_ID;
	word[WORD_VENDOR] = E1000_VENDOR_ID;
	word[WORD_INIT_CTRL2] = INIT_CTRL2_PAUSE;
	for (unsigned i = 0; i < WORD_CHECKSUM; i++)
		sum = (uint16_t)(sum + word[i]);
	word[WORD_CHECKSUM] = (uint16_t)(EEPROM_SUM - sum);
	return -pthread_mutex_init(&e->eeprom.lock, NULL);
}

void e1000_eeprom_fini(struct e1000 *e)
{
	pthread_mutex_destroy(&e->eeprom.lock);
}

void e1000_eerd_write(struct e1000 *e, uint32_t v)
{
	uint32_t at = v >> EERD_ADDR_SHIFT & 0xff;

	if (!(v & EERD_START))
		return;
	v &= 0xffu << EERD_ADDR_SHIFT;
	if (at < EEPROM_WORDS)
		v |= (uint32_t)e->eeprom.word[at] << EERD_DATA_SHIFT;
	e1000_set(e, REG_EERD, v | EERD_DONE);
}

/* The bit on the data output after this rising clock edge. */
static bool clock_edge(struct e1000_eeprom *p, bool in)
{
	uint32_t command;

	if (p->reading) {
		unsigned at = p->out_bit++;

		/* Sequential reads go on with the next word, and round at the end. */
		return p->word[at / 16 % EEPROM_WORDS] >> (15 - at % 16) & 1;
	}
	if (!p->nr_in && !in)
		return true; /* the start bit is a 1 */
	if (p->nr_in == 3 + EEPROM_ADDR_BITS)
		return true; /* some other command, and its data */
	p->in = p->in << 1 | in;
	p->nr_in++;
	if (p->nr_in < 3 + EEPROM_ADDR_BITS)
		return true;
	command = p->in >> EEPROM_ADDR_BITS;
	if (command != EEPROM_OPCODE_READ)
		return true;
	p->reading = true;
	p->out_bit = (p->in & (EEPROM_WORDS - 1)) * 16;
	return false; /* a dummy bit goes before the data */
}

void e1000_eecd_write(struct e1000 *e, uint32_t v)
{
	struct e1000_eeprom *p = &e->eeprom;
	uint32_t old, now = v & (EECD_SK | EECD_CS | EECD_DI | EECD_FWE | EECD_REQ);

	pthread_mutex_lock(&p->lock);
	old = e1000_get(e, REG_EECD);
	if (!(v & EECD_CS)) {
		p->nr_in = 0;
		p->in = 0;
		p->reading = false;
		now |= EECD_DO; /* ready */
	} else if (!(old & EECD_SK) && (v & EECD_SK)) {
		now |= clock_edge(p, v & EECD_DI) ? EECD_DO : 0;
	} else {
		now |= old & EECD_DO;
	}
	if (v & EECD_REQ)
		now |= EECD_GNT;
	e1000_set(e, REG_EECD, now | EECD_PRES);
	pthread_mutex_unlock(&p->lock);
}
