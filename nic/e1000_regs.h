/*
 * Intel 82540EM: registers, descriptors, EEPROM and PHY as the driver sees them. Source: Intel,
 * "PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual" (8254x), chapters
 * 3 (descriptors), 5 (EEPROM) and 13 (registers); names are the manual's.
 */
#ifndef NIC_E1000_REGS_H
#define NIC_E1000_REGS_H

#define E1000_VENDOR_ID	 0x8086
#define E1000_DEVICE_ID	 0x100e
#define E1000_REVISION	 0x02
#define E1000_SUBSYSTEM	 0x001e
#define E1000_MMIO_BYTES 0x20000
#define E1000_IO_BYTES	 64
#define E1000_IOADDR	 0x0
#define E1000_IODATA	 0x4
#define E1000_REG_BYTES	 0x6000 /* what lies behind is diagnostics */
#define E1000_NR_RA	 16
#define E1000_NR_MTA	 128
#define E1000_NR_VFTA	 128
#define E1000_DESC_BYTES 16
#define E1000_FCS_BYTES	 4
#define E1000_TAG_BYTES	 4
#define E1000_FRAME_MIN	 60    /* without FCS */
#define E1000_FRAME_MAX	 1518  /* without FCS, with a tag; longer ones need RCTL.LPE */
#define E1000_FRAME_LONG 16380 /* with RCTL.LPE: 16384 with FCS */
#define E1000_TX_LONG	 16288 /* without segmentation */

enum e1000_reg {
	REG_CTRL = 0x00000,
	REG_CTRL_DUP = 0x00004,
	REG_STATUS = 0x00008,
	REG_EECD = 0x00010,
	REG_EERD = 0x00014,
	REG_CTRL_EXT = 0x00018,
	REG_MDIC = 0x00020,
	REG_FCAL = 0x00028,
	REG_FCAH = 0x0002c,
	REG_FCT = 0x00030,
	REG_VET = 0x00038,
	REG_ICR = 0x000c0,
	REG_ITR = 0x000c4,
	REG_ICS = 0x000c8,
	REG_IMS = 0x000d0,
	REG_IMC = 0x000d8,
	REG_RCTL = 0x00100,
	REG_TCTL = 0x00400,
	REG_TIPG = 0x00410,
	REG_LEDCTL = 0x00e00,
	REG_PBA = 0x01000,
	REG_RDBAL = 0x02800,
	REG_RDBAH = 0x02804,
	REG_RDLEN = 0x02808,
	REG_RDH = 0x02810,
	REG_RDT = 0x02818,
	REG_TDBAL = 0x03800,
	REG_TDBAH = 0x03804,
	REG_TDLEN = 0x03808,
	REG_TDH = 0x03810,
	REG_TDT = 0x03818,
	REG_STATS = 0x04000, /* first statistics register */
	REG_STATS_END = 0x04100,
	REG_RXCSUM = 0x05000,
	REG_MTA = 0x05200,
	REG_RA = 0x05400,
	REG_VFTA = 0x05600,
};

/* Statistics; all are cleared by reading. */
enum e1000_stat {
	STAT_MPC = 0x04010,   /* frames for which there was no buffer */
	STAT_PRC64 = 0x0405c, /* received by size: 64, 127, 255, 511, 1023, more */
	STAT_GPRC = 0x04074,
	STAT_BPRC = 0x04078,
	STAT_MPRC = 0x0407c,
	STAT_GPTC = 0x04080,
	STAT_GORCL = 0x04088,
	STAT_GORCH = 0x0408c,
	STAT_GOTCL = 0x04090,
	STAT_GOTCH = 0x04094,
	STAT_RNBC = 0x040a0,
	STAT_ROC = 0x040ac,
	STAT_TORL = 0x040c0,
	STAT_TORH = 0x040c4,
	STAT_TOTL = 0x040c8,
	STAT_TOTH = 0x040cc,
	STAT_TPR = 0x040d0,
	STAT_TPT = 0x040d4,
	STAT_PTC64 = 0x040d8,
	STAT_MPTC = 0x040f0,
	STAT_BPTC = 0x040f4,
	STAT_TSCTC = 0x040f8,
	STAT_TSCTFC = 0x040fc,
};

#define CTRL_FD	      (1u << 0)
#define CTRL_SLU      (1u << 6)
#define CTRL_SPD_1000 (2u << 8)
#define CTRL_RST      (1u << 26)
#define CTRL_VME      (1u << 30)
#define CTRL_PHY_RST  (1u << 31)

#define STATUS_FD	  (1u << 0)
#define STATUS_LU	  (1u << 1)
#define STATUS_SPEED_1000 (2u << 6)
#define STATUS_ASDV_1000  (2u << 8)

#define CTRL_EXT_EE_RST (1u << 13)

#define EECD_SK	  (1u << 0)
#define EECD_CS	  (1u << 1)
#define EECD_DI	  (1u << 2)
#define EECD_DO	  (1u << 3)
#define EECD_FWE  (3u << 4)
#define EECD_REQ  (1u << 6)
#define EECD_GNT  (1u << 7)
#define EECD_PRES (1u << 8)

#define EERD_START	(1u << 0)
#define EERD_DONE	(1u << 4)
#define EERD_ADDR_SHIFT 8
#define EERD_DATA_SHIFT 16

#define MDIC_REG_SHIFT 16
#define MDIC_PHY_SHIFT 21
#define MDIC_OP_WRITE  (1u << 26)
#define MDIC_OP_READ   (2u << 26)
#define MDIC_READY     (1u << 28)
#define MDIC_INT_EN    (1u << 29)
#define MDIC_ERROR     (1u << 30)

#define ICR_TXDW   (1u << 0) /* a descriptor was written back */
#define ICR_TXQE   (1u << 1) /* transmit queue empty */
#define ICR_LSC	   (1u << 2) /* link changed */
#define ICR_RXDMT0 (1u << 4) /* few receive descriptors left */
#define ICR_RXO	   (1u << 6) /* receive overrun */
#define ICR_RXT0   (1u << 7) /* frames were received */
#define ICR_MDAC   (1u << 9) /* MDIO access complete */
#define ICR_ALL	   0x0001ffffu

#define RCTL_EN		 (1u << 1)
#define RCTL_UPE	 (1u << 3)
#define RCTL_MPE	 (1u << 4)
#define RCTL_LPE	 (1u << 5)
#define RCTL_RDMTS_SHIFT 8
#define RCTL_MO_SHIFT	 12
#define RCTL_BAM	 (1u << 15)
#define RCTL_BSIZE_SHIFT 16
#define RCTL_BSIZE_MASK	 (3u << 16)
#define RCTL_VFE	 (1u << 18)
#define RCTL_BSEX	 (1u << 25)
#define RCTL_SECRC	 (1u << 26)

#define TCTL_EN (1u << 1)

#define RXCSUM_TUOFL (1u << 9)

#define RAH_AV (1u << 31)

#define RING_LEN_MASK  0x000fff80u /* multiples of 128 bytes, below 1 MiB */
#define RING_BASE_MASK 0xfffffff0u

/* Transmit descriptors, second quadword. Legacy: length 15:0, CSO 23:16, CMD 31:24, status 39:32,
 * CSS 47:40, special 63:48. Data: length 19:0, DTYP 23:20, CMD 31:24, status 39:32, POPTS 47:40,
 * special 63:48. Context: PAYLEN 19:0, DTYP, TUCMD 31:24, status 39:32, HDRLEN 47:40, MSS 63:48. */
#define TXD_CMD_EOP    (1u << 24)
#define TXD_CMD_IC     (1u << 26) /* legacy */
#define TXD_CMD_TSE    (1u << 26) /* extended */
#define TXD_CMD_RS     (1u << 27)
#define TXD_CMD_DEXT   (1u << 29)
#define TXD_CMD_VLE    (1u << 30)
#define TXD_TUCMD_TCP  (1u << 24)
#define TXD_TUCMD_IP   (1u << 25)
#define TXD_DTYP_SHIFT 20
#define TXD_DTYP_CTX   0
#define TXD_DTYP_DATA  1
#define TXD_POPTS_IXSM 0x01
#define TXD_POPTS_TXSM 0x02
#define TXD_STATUS_AT  12 /* byte in the descriptor */
#define TXD_STAT_DD    0x01

/* Receive descriptors, second quadword: length 15:0, checksum 31:16, status 39:32, errors 47:40,
 * special 63:48. */
#define RXD_STAT_DD    0x01
#define RXD_STAT_EOP   0x02
#define RXD_STAT_IXSM  0x04
#define RXD_STAT_VP    0x08
#define RXD_STAT_TCPCS 0x20
#define RXD_STAT_PIF   0x80
#define RXD_ERR_RXE    0x80 /* the data is not good */

#define EEPROM_WORDS	   64
#define EEPROM_SUM	   0xbaba
#define EEPROM_ADDR_BITS   6
#define EEPROM_OPCODE_READ 6 /* start bit and two bits of opcode */

#define PHY_ADDRESS 1
enum e1000_phy_reg {
	PHY_CTRL = 0,
	PHY_STATUS = 1,
	PHY_ID1 = 2,
	PHY_ID2 = 3,
	PHY_AUTONEG_ADV = 4,
	PHY_LP_ABILITY = 5,
	PHY_AUTONEG_EXP = 6,
	PHY_1000T_CTRL = 9,
	PHY_1000T_STATUS = 10,
	PHY_EXT_STATUS = 15,
	PHY_SPEC_CTRL = 16,
	PHY_SPEC_STATUS = 17,
	PHY_EXT_SPEC_CTRL = 20,
	PHY_NR_REGS = 32,
};
#define PHY_CTRL_RESET	 0x8000
#define PHY_CTRL_POWER	 0x0800 /* powered down */
#define PHY_CTRL_RESTART 0x0200

#endif
